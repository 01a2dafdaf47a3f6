# Runs a program in a network namespace of its own, with room for its connections:
#   own-network.sh ENTRIES "TCP_MEM" PROGRAM ARGUMENT...
# ENTRIES: of the namespace's table of TCP connections. TCP_MEM: net.ipv4.tcp_mem meanwhile, which is the host's; empty to leave
# it as it is. It is put back at the end, unless somebody else has changed it; a SIGKILL to this shell leaves it.
set -eu
entries=$1
memory=$2
shift 2

tcp_mem=/proc/sys/net/ipv4/tcp_mem
now() { tr '\t' ' ' < $tcp_mem; }

program=
trap '[ -z "$program" ] || kill -TERM $program 2>/dev/null || true' INT TERM HUP QUIT

if [ -n "$memory" ]; then
    # Two that raise it at a time would each put back what the other one has set.
    exec 9< $tcp_mem
    flock -n 9 || { echo "fanfare-bench: another run has raised net.ipv4.tcp_mem; wait for its end" >&2; exit 1; }
    before=$(now)
    trap '[ "$(now)" != "$memory" ] || echo "$before" > $tcp_mem' EXIT
    echo "$memory" > $tcp_mem
fi

# How large the table of a namespace is, is said by the namespace that it is made in. So there are two of them, and the host's
# setting stays as it is. Both shells become the program, which ends with this one.
# shellcheck disable=SC2016
setpriv --pdeathsig TERM unshare --net -- sh -euc '
    ip link set lo up
    echo "$1" > /proc/sys/net/ipv4/tcp_child_ehash_entries
    shift
    exec unshare --net -- sh -euc "ip link set lo up; exec \"\$@\"" sh "$@"
' sh "$entries" "$@" <&0 9<&- &
program=$!

status=0
wait $program || status=$?
# A signal ends the wait, not the program.
while kill -0 $program 2>/dev/null; do
    status=0
    wait $program || status=$?
done
exit $status
