//! An echo server over faulty networks: nothing is lost, every fault strikes, and runs repeat.

use std::collections::BTreeMap;

use super::*;

/// A server that sends back what it gets, written to survive every fault.
struct Echo {
    ring: SimRing,
    generation: u32,
    connections: BTreeMap<u32, EchoConnection>,
    is_accepting: bool,
}

#[derive(Default)]
struct EchoConnection {
    slot: u32,
    backlog: Vec<u8>,
    /// Bytes received; past a limit the server hangs up on its own account.
    total: usize,
    is_polling: bool,
    has_ended: bool,
    is_broken: bool,
}

impl Echo {
    fn new(ring: SimRing) -> Self {
        Self {
            ring,
            generation: 0,
            connections: BTreeMap::new(),
            is_accepting: false,
        }
    }

    fn turn(&mut self) {
        if !std::mem::replace(&mut self.is_accepting, true) {
            self.ring.accept(0, token(ACCEPT, 0));
        }
        let mut completions = Vec::new();
        self.ring
            .turn(Duration::from_secs(1), &mut completions)
            .expect("a simulated ring does not fail");
        for completion in completions {
            self.complete(&completion);
        }
        self.flush();
        self.connections.retain(|&id, connection| {
            let has_finished =
                connection.is_broken || (connection.has_ended && connection.backlog.is_empty());
            if !has_finished {
                return true;
            }
            self.ring.cancel(token(RECEIVE, id));
            self.ring.cancel(token(POLL, id));
            self.ring.close(Slot(connection.slot), token(CLOSE, id));
            false
        });
    }

    fn complete(&mut self, completion: &Completion<SimBuffer>) {
        let id = completion.token.index();
        match completion.token.kind() {
            ACCEPT => {
                self.is_accepting &= completion.more;
                if let Ok(slot) = u32::try_from(completion.result) {
                    self.generation += 1;
                    let connection = EchoConnection {
                        slot,
                        ..EchoConnection::default()
                    };
                    self.connections.insert(self.generation, connection);
                    self.ring
                        .receive(Slot(slot), token(RECEIVE, self.generation));
                }
            }
            RECEIVE => {
                let Some(connection) = self.connections.get_mut(&id) else {
                    return;
                };
                connection
                    .backlog
                    .extend_from_slice(completion.buffer.as_deref().unwrap_or_default());
                connection.total += completion.buffer.as_deref().map_or(0, <[u8]>::len);
                connection.is_broken |= connection.total > 5_000;
                let may_follow = completion.result > 0 || completion.result == -libc::ENOBUFS;
                connection.has_ended |= completion.result == 0;
                connection.is_broken |= completion.result < 0 && !may_follow;
                if may_follow && !completion.more {
                    self.ring.receive(Slot(connection.slot), completion.token);
                }
            }
            POLL => {
                let Some(connection) = self.connections.get_mut(&id) else {
                    return;
                };
                connection.is_polling = false;
            }
            _ => {}
        }
    }

    fn flush(&mut self) {
        let ready =
            |connection: &EchoConnection| !connection.is_polling && !connection.backlog.is_empty();
        let ids: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, c)| ready(c))
            .map(|(&id, _)| id)
            .collect();
        let sends = ids.iter().map(|id| {
            (
                Slot(self.connections[id].slot),
                &self.connections[id].backlog[..],
            )
        });
        let mut shorts = Vec::new();
        self.ring.send_all(sends, &mut shorts);
        let shorts: BTreeMap<u32, Result<u32, i32>> = shorts
            .iter()
            .map(|&Short { index, taken }| (index, taken))
            .collect();
        for (index, id) in (0..).zip(ids) {
            let connection = self.connections.get_mut(&id).expect("it was just sent to");
            match shorts.get(&index) {
                None => connection.backlog.clear(),
                Some(Err(_)) => connection.is_broken = true,
                Some(Ok(taken)) => {
                    connection.backlog.drain(..*taken as usize);
                    connection.is_polling = true;
                    self.ring
                        .poll_writable(Slot(connection.slot), token(POLL, id));
                }
            }
        }
    }
}

struct EchoClient {
    end: SimClient,
    sent: Vec<u8>,
    received: Vec<u8>,
    is_done: bool,
}

/// Clients that send numbered bytes to an echo server, read them back at random, and leave.
fn echo_run(seed: u64, faults: &Faults, record: bool) -> SimNet {
    let net = SimNet::new(seed, faults.clone());
    if record {
        net.record_events();
    }
    let mut rng = net.fork_rng();
    let mut echo = Echo::new(net.ring(&SimRingOptions {
        slots: 6,
        buffers: 3,
        ..SimRingOptions::default()
    }));
    let mut clients: Vec<EchoClient> = Vec::new();
    for step in 0..1_500 {
        if step < 1_000
            && rng.u32(0..20) == 0
            && let Ok(end) = net.connect(0, 0)
        {
            clients.push(EchoClient {
                end,
                sent: Vec::new(),
                received: Vec::new(),
                is_done: false,
            });
        }
        if !clients.is_empty() {
            let index = rng.usize(0..clients.len());
            act(&mut clients[index], &mut rng, step > 1_000);
        }
        if net.is_runnable(0) {
            echo.turn();
        } else {
            net.advance(Duration::from_micros(rng.u64(0..2_000)));
        }
    }
    let echoed: usize = clients.iter().map(|client| client.received.len()).sum();
    assert!(echoed > 0, "seed {seed}: no client was served");
    for client in &clients {
        assert!(
            client.sent.starts_with(&client.received),
            "seed {seed}: bytes came back wrong"
        );
    }
    drop(clients);
    net.set_faults(Faults::none());
    // The latest stale completion comes after 200 ms.
    for _ in 0..300 {
        echo.turn();
        net.advance(Duration::from_millis(1));
    }
    assert!(
        echo.connections.is_empty(),
        "seed {seed}: everyone has left"
    );
    echo.ring.cancel(token(ACCEPT, 0));
    turn(&mut echo.ring);
    net.assert_idle(0);
    net
}

fn act(client: &mut EchoClient, rng: &mut fastrand::Rng, is_late: bool) {
    match rng.u32(0..10) {
        0..4 if !is_late && !client.is_done => {
            let bytes: Vec<u8> = (client.sent.len()..client.sent.len() + rng.usize(1..700))
                .map(|n| n.to_le_bytes()[0])
                .collect();
            if let Ok(taken) = client.end.send(&bytes) {
                client.sent.extend(&bytes[..taken]);
            }
        }
        4..9 => {
            if let Received::Data(bytes) = client.end.receive(rng.usize(1..2_000)) {
                client.received.extend(bytes);
            }
        }
        9 if rng.u32(0..10) == 0 => {
            client.is_done = true;
            match rng.u32(0..3) {
                0 => client.end.shutdown(),
                1 => client.end.close(),
                _ => client.end.reset(),
            }
        }
        _ => {}
    }
}

#[test]
fn echoed_bytes_survive_every_fault_and_every_fault_strikes() {
    let mut struck = [0; Fault::ALL.len()];
    for seed in 0..60 {
        let faults = Faults::random(&mut fastrand::Rng::with_seed(seed));
        let net = echo_run(seed, &faults, false);
        for fault in Fault::ALL {
            struck[fault as usize] += net.fault_count(fault);
        }
    }
    for fault in Fault::ALL {
        assert!(struck[fault as usize] > 0, "{fault:?} never happened");
    }
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in 0..10 {
        let faults = Faults::random(&mut fastrand::Rng::with_seed(seed));
        let (first, second) = (echo_run(seed, &faults, true), echo_run(seed, &faults, true));
        assert_eq!(first.events(), second.events());
        assert_eq!(first.digest(), second.digest());
        assert_eq!(
            first.digest(),
            echo_run(seed, &faults, false).digest(),
            "recording changes nothing"
        );
        assert_ne!(
            first.digest(),
            echo_run(seed + 1_000, &faults, false).digest()
        );
    }
}
