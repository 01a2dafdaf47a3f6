//! What a thread of the relay counts.

use crate::relay::Tally;

fanfare_engine::counters! {
    /// The live numbers of a thread.
    pub(super) struct Counters;
    /// What the numbers of one thread were at one moment.
    pub struct RelaySnapshot;
    allocations: Gauge, "Allocations.";
    sockets: Gauge, "Sockets of relayed addresses.";
    streams: Gauge, "Clients connected over TCP or TLS.";
    connections: Gauge, "Connections to peers, those that are being made included.";
    client_packets: Counter, "Datagrams and messages of clients.";
    answers: Counter, "Answers to requests.";
    packets_to_peers: Counter, "Packets relayed from clients to peers.";
    bytes_to_peers: Counter, "Bytes of data relayed from clients to peers.";
    packets_to_clients: Counter, "Packets relayed from peers to clients.";
    bytes_to_clients: Counter, "Bytes of data relayed from peers to clients.";
    packets_hairpin: Counter, "Packets handed from one allocation to another without leaving the process (counted in both directions, too).";
    packets_handed_over: Counter, "Packets handed to another thread that has the allocation they are for.";
    packets_not_handed_over: Counter, "Packets lost because that thread was too far behind.";
    datagrams_sent: Counter, "Datagrams handed to the kernel, those included that it did not take (`sends_full`, `sends_failed`).";
    allocations_made: Counter, "Allocations made.";
    allocations_over_quota: Counter, "Allocations refused because the user, or all together, had as many as they may (486).";
    allocations_without_port: Counter, "Allocations refused because there was no port (508).";
    allocations_while_draining: Counter, "Allocations refused because the server is being drained (300 or 508).";
    challenges: Counter, "Requests without a signature that were told what is missing (401).";
    auth_failures: Counter, "Requests whose signature or credentials were not accepted (401).";
    auth_malformed: Counter, "Signed requests that lacked what belongs to a signature (400).";
    users_asked: Counter, "Users that somebody else was asked about.";
    users_not_told: Counter, "Requests answered with 500 because nothing could be found out about their user.";
    requests_not_kept: Counter, "Requests dropped because as many as may were waiting for their users to be asked about.";
    nonces_stale: Counter, "Requests with a nonce that is too old or somebody else's (438).";
    peers_forbidden: Counter, "Permissions and channels refused because the peer may not be reached (403).";
    dropped_unknown: Counter, "Packets of clients that were neither STUN nor ChannelData.";
    dropped_malformed: Counter, "Messages that were not well-formed.";
    dropped_unexpected: Counter, "Messages that clients do not send.";
    dropped_source: Counter, "Requests from port 0 or from a socket of the server.";
    dropped_strangers: Counter, "Requests not answered because their source had used up its budget.";
    dropped_no_allocation: Counter, "Data without an allocation.";
    dropped_no_channel: Counter, "Data on a channel that is bound to nobody.";
    dropped_no_permission: Counter, "Data to or from a peer that is not permitted.";
    dropped_denied: Counter, "Data to or from a peer that may not be reached.";
    dropped_rate: Counter, "Data beyond what its allocation may have relayed.";
    dropped_indication: Counter, "Send indications that made no sense.";
    datagrams_truncated: Counter, "Datagrams longer than a receive buffer.";
    network_errors: Counter, "Errors that the network told of (ICMP).";
    sends_full: Counter, "Datagrams lost because the socket's send buffer was full.";
    sends_again: Counter, "Sends that failed and were tried again.";
    sends_failed: Counter, "Datagrams lost because sending failed.";
    receives_begun: Counter, "Receives that had to begin again.";
    streams_accepted: Counter, "Connections accepted.";
    streams_refused: Counter, "Connections closed at once because there were as many as there may be.";
    tls_handshakes_refused: Counter, "Connections closed before TLS began because their source had begun as many as it may.";
    accept_errors: Counter, "Accepts that failed.";
    streams_left: Counter, "Connections of clients, and of peers that were bound to one, that the other side has ended.";
    streams_garbage: Counter, "Connections closed because of what they sent.";
    streams_tls_failed: Counter, "Connections closed because TLS failed.";
    streams_idle: Counter, "Connections closed because they had no allocation for too long.";
    connections_made: Counter, "Connections to peers that were made, by either side.";
    connections_failed: Counter, "Peers that did not answer or did not want to be connected to (447).";
    connections_refused: Counter, "Connections of peers that were closed at once because they had no permission, or there were as many as there may be.";
    pipes_slowed: Counter, "Times that a half of a pipe had to wait because its allocation had relayed as much as it may.";
    bytes_piped: Counter, "Bytes carried between clients and peers that are connected.";
    stream_messages_dropped: Counter, "Messages that a client on a stream did not take in time.";
}

impl Counters {
    /// Takes over what the relay has counted.
    pub(super) fn tally(&self, tally: &Tally) {
        let Tally {
            allocations_made,
            over_quota,
            without_port,
            while_draining,
            challenges,
            auth_failures,
            auth_malformed,
            nonces_stale,
            peers_forbidden,
        } = *tally;
        self.allocations_made.set(allocations_made);
        self.allocations_over_quota.set(over_quota);
        self.allocations_without_port.set(without_port);
        self.allocations_while_draining.set(while_draining);
        self.challenges.set(challenges);
        self.auth_failures.set(auth_failures);
        self.auth_malformed.set(auth_malformed);
        self.nonces_stale.set(nonces_stale);
        self.peers_forbidden.set(peers_forbidden);
    }
}
