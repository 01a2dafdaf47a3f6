//! `fanfare turn-check`: what a client somewhere on the Internet has of a relay.

mod client;
mod report;
mod url;

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_turn::policy::PeerPolicy;
use fanfare_turn::stun::{AttributeType, Method};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use self::client::{Client, Failed, User};
use self::report::Report;
use self::url::Transport;
pub(crate) use self::url::Url;
use crate::backend::{Roots, tls};
use crate::cli::TurnCheckArgs;
use crate::exit::Failure;

/// How long the answer to a packet through the relay is waited for, before it is sent again.
const ECHO: Duration = Duration::from_millis(300);

/// Times that a packet is sent through the relay before it counts as lost.
const TRIES: usize = 5;

/// Checks each of the relays, one after the other.
pub(crate) fn run(args: &TurnCheckArgs) -> Result<(), Failure> {
    let tls = Arc::new(trusting(args.ca.as_deref())?);
    let user = args.user.clone().zip(args.password.clone());
    let user = user.map(|(name, password)| User { name, password });
    let mut reports = Vec::new();
    for url in &args.urls {
        let mut report = Report::new(url, !args.json);
        check(url, user.as_ref(), args, &tls, &mut report);
        report.close();
        reports.push(report);
    }
    if args.json {
        let text = serde_json::to_string_pretty(&reports).map_err(Failure::internal)?;
        writeln!(std::io::stdout(), "{text}").or_else(|error| Failure::of_output(&error))?;
    }
    let failed: Vec<_> = reports.iter().filter(|it| !it.is_good()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let urls: Vec<_> = failed.iter().map(|it| it.url()).collect();
    Err(Failure::runtime(format!(
        "clients cannot use {}",
        urls.join(", ")
    )))
}

fn trusting(authority: Option<&Path>) -> Result<rustls::ClientConfig, Failure> {
    let roots = match authority {
        None => Roots::System,
        Some(path) => {
            let refuse = |why: &dyn std::fmt::Display| {
                Failure::usage(format!("--ca {}: {why}", path.display()))
            };
            let mut roots = rustls::RootCertStore::empty();
            let all = CertificateDer::pem_file_iter(path).map_err(|error| refuse(&error))?;
            for one in all {
                let added = roots.add(one.map_err(|error| refuse(&error))?);
                added.map_err(|error| refuse(&error))?;
            }
            if roots.is_empty() {
                return Err(refuse(&"holds no certificate in PEM"));
            }
            Roots::Only(roots)
        }
    };
    tls(roots).map_err(|error| Failure::os(format!("cannot set up TLS: {error}")))
}

/// Goes on as long as one step makes sense after the other.
fn check(
    url: &Url,
    user: Option<&User>,
    args: &TurnCheckArgs,
    tls: &Arc<rustls::ClientConfig>,
    report: &mut Report,
) {
    let at = match url.resolve() {
        Ok(at) => at,
        Err(error) => {
            let name = &url.host;
            return report.failed(&format!("cannot find the host {name}: {error}"));
        }
    };
    report.ok(&format!("the host is {}", at.ip()));
    let connect = || Client::connect(url, at, tls, args.timeout.0, user.cloned());
    let mut first = match connect() {
        Ok(client) => client,
        Err(failed) => return report.failed(&not_reached(url, at, &failed)),
    };
    match url.transport {
        Transport::Udp => {}
        Transport::Tcp => report.ok(&format!("connected to {at}")),
        Transport::Tls => report.ok(&format!(
            "connected to {at}, whose certificate is good for {}",
            url.host
        )),
    }
    let seen = match first.ask_plainly(Method::BINDING, |_| {}) {
        Ok(answer) => answer.address(AttributeType::XOR_MAPPED_ADDRESS),
        Err(failed) => return report.failed(&not_reached(url, at, &failed)),
    };
    let Some(seen) = seen else {
        return report.failed("a STUN Binding is answered without XOR-MAPPED-ADDRESS");
    };
    let nat = if seen.port() == first.local().port() {
        ""
    } else {
        " (this host is behind a NAT)"
    };
    report.ok(&format!(
        "a STUN Binding is answered: this host is {seen}{nat}"
    ));
    if !url.relays {
        return;
    }
    let wants_udp = |writer: &mut fanfare_turn::stun::Writer<'_>| {
        writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    };
    match first.ask_plainly(Method::ALLOCATE, wants_udp) {
        Ok(answer) => match answer.text(AttributeType::REALM) {
            Some(realm) => report.ok(&format!("who it is has to be shown, in realm {realm:?}")),
            None => {
                return report.failed(
                    "anybody can allocate: it is an open relay, which will be abused; configure secrets or users",
                );
            }
        },
        Err(failed) => return report.failed(&refused("an allocation", &failed)),
    }
    if user.is_none() {
        return report
            .skipped("allocations and packets: give --user and --password (fanfare turn-credentials prints some)");
    }
    let mut allocated = Vec::new();
    let mut next = Some(first);
    // Of the same family as this host is seen with, so that it can send there.
    let mut wants_v6 = seen.is_ipv6();
    for number in 0..usize::from(args.ports) {
        let client = next.take().map_or_else(connect, Ok);
        let made = client.and_then(|mut client| {
            let mut allocate = |is_v6| {
                client.ask(Method::ALLOCATE, |writer| {
                    wants_udp(writer);
                    if is_v6 {
                        let kind = AttributeType::REQUESTED_ADDRESS_FAMILY;
                        writer.attribute(kind, &[2, 0, 0, 0]);
                    }
                })
            };
            let answer = match allocate(wants_v6) {
                // It relays no IPv6.
                Err(Failed::Refused(440)) if wants_v6 => {
                    wants_v6 = false;
                    allocate(false)?
                }
                answer => answer?,
            };
            let relayed = answer.address(AttributeType::XOR_RELAYED_ADDRESS);
            let relayed = relayed.ok_or(Failed::Nonsense("no XOR-RELAYED-ADDRESS"))?;
            Ok((client, relayed))
        });
        match made {
            Ok(made) => allocated.push(made),
            // Its quota is what is configured, and some are enough.
            Err(Failed::Refused(486)) if number >= 2 => break,
            Err(failed) => {
                report.failed(&refused("an allocation", &failed));
                break;
            }
        }
    }
    if !allocated.is_empty() {
        let ports: Vec<_> = allocated
            .iter()
            .map(|(_, it)| it.port().to_string())
            .collect();
        let ip = allocated[0].1.ip();
        report.ok(&format!("allocated at {ip}, ports {}", ports.join(", ")));
        if !is_global(ip) && is_global(at.ip()) {
            report.failed(&format!(
                "clients elsewhere cannot reach {ip}: behind a NAT, set turn.external_addresses to {}",
                at.ip()
            ));
        }
        carry(seen.ip(), &mut allocated, report);
        between(&mut allocated, report);
    }
    give_back(&mut allocated, report);
}

/// Has a socket of this host and each allocation exchange packets.
fn carry(host: IpAddr, allocated: &mut [(Client, SocketAddr)], report: &mut Report) {
    let any = if allocated[0].1.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = match UdpSocket::bind(any) {
        Ok(socket) => socket,
        Err(error) => return report.failed(&format!("cannot open a socket: {error}")),
    };
    if host.is_ipv4() != allocated[0].1.is_ipv4() {
        return report.skipped(
            "packets from this host: the relay gave an address of the other family of addresses",
        );
    }
    let (mut reached, mut lost) = (0, Vec::new());
    for (client, relayed) in allocated.iter_mut() {
        let permitted = client.ask(Method::CREATE_PERMISSION, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, SocketAddr::new(host, 1));
        });
        match permitted {
            Ok(_) => {}
            Err(Failed::Refused(403)) => {
                return report.skipped(&format!(
                    "packets from this host: the relay may not reach {host} (allowed_peers), which is {}",
                    if is_global(host) { "denied by its list" } else { "as it should be for an address that is not of the Internet; try it from another host" }
                ));
            }
            Err(failed) => return report.failed(&refused("a permission", &failed)),
        }
        match echo(client, &socket, *relayed) {
            Ok(true) => reached += 1,
            Ok(false) => lost.push(relayed.port().to_string()),
            Err(failed) => return report.failed(&refused("a packet", &failed)),
        }
    }
    if lost.is_empty() {
        report.ok(&format!(
            "packets from this host to all {reached} ports, and back"
        ));
    } else {
        report.failed(&format!(
            "packets from this host do not come through on {} of {} ports ({}): open turn.port_min to turn.port_max for UDP in the firewalls, and map each to the same port",
            lost.len(),
            allocated.len(),
            lost.join(", ")
        ));
    }
}

/// A packet to a relayed port, and one back.
fn echo(client: &mut Client, socket: &UdpSocket, relayed: SocketAddr) -> Result<bool, Failed> {
    let data = relayed.to_string();
    let mut buffer = [0; 2_048];
    for _ in 0..TRIES {
        socket.send_to(data.as_bytes(), relayed)?;
        let Some((peer, _)) = client
            .receive_from(ECHO)?
            .filter(|(_, it)| *it == data.as_bytes())
        else {
            continue;
        };
        client.send_to(peer, data.as_bytes())?;
        let until = Instant::now() + ECHO;
        while let Some(left) = until.checked_duration_since(Instant::now())
            && !left.is_zero()
        {
            socket.set_read_timeout(Some(left))?;
            if let Ok((length, from)) = socket.recv_from(&mut buffer)
                && from == relayed
                && &buffer[..length] == data.as_bytes()
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Has the first two allocations exchange packets, as two clients of this server do.
fn between(allocated: &mut [(Client, SocketAddr)], report: &mut Report) {
    let [(one, of_one), (other, of_other), ..] = allocated else {
        return report.skipped("packets between two clients: it takes two allocations (--ports)");
    };
    for (client, peer) in [(&mut *one, *of_other), (&mut *other, *of_one)] {
        let permitted = client.ask(Method::CREATE_PERMISSION, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        match permitted {
            Ok(_) => {}
            Err(Failed::Refused(403)) if !is_global(peer.ip()) => {
                return report.skipped(&format!(
                    "packets between two clients: the relay may not reach its own address {}, as it should be for one that is not of the Internet (allowed_peers)",
                    peer.ip()
                ));
            }
            Err(failed) => return report.failed(&refused("a permission", &failed)),
        }
    }
    let data = b"from one client to another";
    for _ in 0..TRIES {
        let heard = one
            .send_to(*of_other, data)
            .and_then(|()| other.receive_from(ECHO));
        match heard {
            Ok(Some((from, heard))) if from == *of_one && heard == data => {
                return report.ok("packets between two clients of the relay");
            }
            Ok(_) => {}
            Err(failed) => return report.failed(&refused("a packet", &failed)),
        }
    }
    report.failed("packets between two clients of the relay do not come through");
}

fn give_back(allocated: &mut [(Client, SocketAddr)], report: &mut Report) {
    for (client, relayed) in allocated.iter_mut() {
        let given = client.ask(Method::REFRESH, |writer| {
            writer.attribute(AttributeType::LIFETIME, &[0; 4]);
        });
        if let Err(failed) = given {
            return report.failed(&refused(&format!("the end of {relayed}"), &failed));
        }
    }
    if !allocated.is_empty() {
        report.ok("all of it given back");
    }
}

fn is_global(ip: IpAddr) -> bool {
    PeerPolicy::new(&[], &[], Vec::new()).check(ip).is_ok()
}

/// What it means that there is no answer, and what to look at.
fn not_reached(url: &Url, at: SocketAddr, failed: &Failed) -> String {
    let way = match url.transport {
        Transport::Udp => "UDP",
        Transport::Tcp | Transport::Tls => "TCP",
    };
    match failed {
        Failed::Silence => format!(
            "{at} does not answer over {way}: does it run, and do the firewalls let {way} through to port {}?",
            at.port()
        ),
        Failed::Network(error) if url.transport == Transport::Tls => format!(
            "TLS with {at} failed: {error}; the certificate has to be good for {}, and signed by an authority that is trusted (--ca)",
            url.host
        ),
        Failed::Network(error) => {
            format!("cannot reach {at} over {way}: {error}; does it run there?")
        }
        Failed::Nonsense(what) => format!("{at} is no STUN server: {what}"),
        Failed::Refused(code) => format!("{at} refuses a STUN Binding with {code}"),
    }
}

/// What an error means, and what to do.
fn refused(what: &str, failed: &Failed) -> String {
    let code = match failed {
        Failed::Silence => return format!("there is no answer to {what}"),
        Failed::Network(error) => return format!("{what} failed: {error}"),
        Failed::Nonsense(why) => return format!("the answer to {what} makes no sense: {why}"),
        Failed::Refused(code) => code,
    };
    let why = match code {
        300 => "the server is being drained, and sends newcomers elsewhere",
        401 => {
            "the name or the password is wrong, or their time is over; time-limited ones need the same secret and clocks that agree"
        }
        403 => "the peer may not be reached (allowed_peers, denied_peers)",
        438 => "no nonce is good for long enough: is another server behind the same address?",
        442 => "it relays no UDP",
        486 => "the user has as many allocations as allowed (allocations_per_user_max)",
        500 => {
            "its backend does not answer, or it failed otherwise; try again, and look at its log"
        }
        508 => "no port is left between port_min and port_max, or the server is being drained",
        _ => "see RFC 8656 section 19 and RFC 8489 section 14.8",
    };
    format!("{what} is refused with {code}: {why}")
}
