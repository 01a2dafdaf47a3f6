//! A path whose packets are shorter than what is relayed: datagrams go out in fragments, and trains of them not at all.
//!
//! The test runs itself again in a network of its own, whose loopback is that narrow.
#![allow(missing_docs)]

use std::process::Command;
use std::time::Instant;

mod live;

use live::{Client, PATIENCE, channel_data, config, counted, receive_from, start, udp_socket};

const CHANNEL: u16 = 0x4000;
/// In the environment of the program that runs in the narrow network.
const INSIDE: &str = "FANFARE_TEST_NARROW";
/// More than the 1,000 bytes of the network, and less than what a train may be made of.
const DATA: [u8; 1_200] = [9; 1_200];
const AT_ONCE: u64 = 30;

#[test]
fn what_a_device_takes_no_trains_of_goes_one_by_one() {
    if std::env::var_os(INSIDE).is_some() {
        return relay();
    }
    let script = "ip link set lo up mtu 1000 && exec \"$0\" --exact \"$1\" --nocapture";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "sh", "-c", script])
        .arg(std::env::current_exe().expect("a program"))
        .arg("what_a_device_takes_no_trains_of_goes_one_by_one")
        .env(INSIDE, "1")
        .output()
        .expect("unshare, of util-linux");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.contains("1 passed"), "{said}");
}

fn relay() {
    let server = start(config());
    let mut client = Client::udp(&server);
    let peer = udp_socket("127.0.0.1:0");
    let relayed = client.allocate();
    assert_eq!(
        client.bind(CHANNEL, peer.local_addr().expect("bound")),
        None
    );
    let framed = channel_data(CHANNEL, &DATA, 1);
    let (mut sent, deadline) = (0, Instant::now() + PATIENCE);
    // Until some of them have come to the relay together, so that it has tried a train in either direction.
    let mut refused = 0;
    while refused < 2 {
        for _ in 0..AT_ONCE {
            client.send(&framed);
        }
        for _ in 0..AT_ONCE {
            assert_eq!(receive_from(&peer), (DATA.to_vec(), relayed));
        }
        for _ in 0..AT_ONCE {
            peer.send_to(&DATA, relayed).expect("sent");
        }
        for _ in 0..AT_ONCE {
            assert_eq!(client.receive(), framed);
        }
        sent += AT_ONCE;
        refused = counted(&server, |it| it.packets_to_clients == sent).sends_again;
        assert!(Instant::now() < deadline, "no trains among {sent}");
    }
    let counted = counted(&server, |it| it.packets_to_peers == sent);
    assert_eq!(counted.sends_failed, 0);
    server.stop();
}
