//! Rooms of goim's clients: changed one after the other, faster than the rooms' homes answer, to the same room, to none, and
//! left in the middle of it. Counts tell who is where.

mod support;

use fanfare_engine::Engine;
use support::{
    Form, Goim, Told, Wire, bytes_of, eventually, frame, goim_config, members, push_room, start,
    stop, total,
};

/// With so many shards most rooms live elsewhere than the client, so that answers take a while.
const SHARDS: u16 = 5;

fn rooms(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("live://{n}")).collect()
}

/// Asks for these rooms in one write; returns their sequences.
fn change_at_once(client: &mut Goim, rooms: &[&str]) {
    let mut bytes = Vec::new();
    for (seq, room) in (1000..).zip(rooms) {
        bytes.extend(client.written(&frame(12, seq, room.as_bytes())));
    }
    client.wire.send_bytes(&bytes);
}

/// Each is answered, with its own name, in the order asked for.
fn all_answered(client: &mut Goim, rooms: &[&str]) {
    for (seq, room) in (1000..).zip(rooms) {
        assert_eq!(client.next(), Told::Frame(frame(13, seq, room.as_bytes())));
    }
}

/// The client is in this room alone, and hears what is published there once.
fn is_only_in(engine: &Engine, client: &mut Goim, room: &str, others: &[String]) {
    eventually("it is a member of one room", || {
        total(engine, |it| it.members) == 1
    });
    for other in others.iter().filter(|it| *it != room) {
        eventually("it has left", || members(engine, other) == 0);
        assert_eq!(push_room(engine, other, 1000, "not for it"), 0);
    }
    eventually("it is counted once", || members(engine, room) == 1);
    assert_eq!(client.heartbeat(), 1);
    assert_eq!(push_room(engine, room, 1000, room), 1);
    assert_eq!(client.push(), (1000, room.to_owned()));
    assert!(client.has_no_push());
}

#[test]
fn rooms_changed_faster_than_they_answer_end_in_the_last_one() {
    let engine = start(goim_config(SHARDS));
    let addr = engine.client_addrs()[0];
    let rooms = rooms(12);
    for form in [Form::Tcp, Form::WebSocket] {
        let mut client = Goim::connect(addr, form, "{}");
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..60 {
            let last = &*rooms[random.usize(..12)];
            let asked: Vec<&str> = (0..random.usize(1..40))
                .map(|_| match random.usize(..14) {
                    room @ ..12 => &*rooms[room],
                    _ => "",
                })
                .chain([last])
                .collect();
            change_at_once(&mut client, &asked);
            all_answered(&mut client, &asked);
            is_only_in(&engine, &mut client, last, &rooms);
        }
        client.change_room("");
        eventually("it is nowhere", || total(&engine, |it| it.members) == 0);
        assert_eq!(client.heartbeat(), 0);
    }
    stop(engine);
}

#[test]
fn back_and_forth_is_where_it_was() {
    let engine = start(goim_config(SHARDS));
    let addr = engine.client_addrs()[0];
    let rooms = rooms(12);
    for pair in rooms.windows(2) {
        let (a, b) = (&*pair[0], &*pair[1]);
        // While auth's own join may still be under way, too.
        let mut client = Goim::open(addr, Form::Tcp);
        let auth = format!(r#"{{"room_id":"{a}"}}"#);
        let mut bytes = bytes_of(&frame(7, 1, auth.as_bytes()));
        for (seq, room) in (1000..).zip([b, a, b, a, "", a]) {
            bytes.extend(bytes_of(&frame(12, seq, room.as_bytes())));
        }
        client.wire.send_bytes(&bytes);
        assert_eq!(client.next(), Told::Frame(frame(8, 1, b"")));
        all_answered(&mut client, &[b, a, b, a, "", a]);
        is_only_in(&engine, &mut client, a, &rooms);
        // It leaves where it is, and not only where it was first.
        client.change_room(b);
        is_only_in(&engine, &mut client, b, &rooms);
        drop(client);
        eventually("it has gone", || members(&engine, b) == 0);
    }
    stop(engine);
}

#[test]
fn the_same_room_again_is_no_change() {
    let engine = start(goim_config(SHARDS));
    let addr = engine.client_addrs()[0];
    let rooms = rooms(8);
    let mut client = Goim::tcp(addr, r#"{"room_id":"live://0"}"#);
    for room in &rooms {
        let asked = vec![&**room; 30];
        change_at_once(&mut client, &asked);
        all_answered(&mut client, &asked);
        is_only_in(&engine, &mut client, room, &rooms);
    }
    stop(engine);
}

#[test]
fn who_leaves_in_the_middle_of_a_change_is_nowhere() {
    let engine = start(goim_config(SHARDS));
    let addr = engine.client_addrs()[0];
    let rooms = rooms(20);
    for n in 0..200 {
        let mut wire = Wire::tcp(addr);
        let mut bytes = bytes_of(&frame(
            7,
            1,
            br#"{"room_id":"live://0","rooms":["live://1"]}"#,
        ));
        for room in &rooms[..=n % 20] {
            bytes.extend(bytes_of(&frame(12, 2, room.as_bytes())));
        }
        if n % 3 == 0 {
            // In the middle of a frame.
            bytes.truncate(bytes.len() - 3);
        }
        wire.send_bytes(&bytes);
    }
    eventually("all have gone", || {
        total(&engine, |it| it.connections_accepted) == 200
            && total(&engine, |it| it.connections) == 0
    });
    for room in &rooms {
        eventually("nobody is counted", || members(&engine, room) == 0);
        assert_eq!(push_room(&engine, room, 1000, "for nobody"), 0);
    }
    assert_eq!(total(&engine, |it| it.members), 0);
    // Ghosts would keep a room: what nobody is in is soon none.
    eventually("no room has members", || {
        total(&engine, |it| it.rooms_local) == 0
    });
    stop(engine);
}

#[test]
fn who_stays_hears_everything_while_others_come_and_go() {
    const ROUNDS: usize = 300;
    let engine = start(goim_config(SHARDS));
    let addr = engine.client_addrs()[0];
    let rooms = rooms(4);
    let mut staying: Vec<Goim> = rooms
        .iter()
        .map(|room| Goim::tcp(addr, &format!(r#"{{"room_id":"{room}"}}"#)))
        .collect();
    for client in &mut staying {
        assert_eq!(client.heartbeat(), 1);
    }
    std::thread::scope(|scope| {
        for seed in 0..6 {
            let rooms = &rooms;
            scope.spawn(move || {
                let form = [Form::Tcp, Form::WebSocket][usize::from(seed % 2 == 0)];
                let mut client = Goim::connect(addr, form, "{}");
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..ROUNDS {
                    let seq = client.request(12, rooms[random.usize(..4)].as_bytes());
                    client.answer(13, seq);
                }
                client.change_room("");
            });
        }
        for n in 0..ROUNDS {
            for room in &rooms {
                assert!(push_room(&engine, room, 1000, &n.to_string()) >= 1);
            }
        }
        for client in &mut staying {
            for n in 0..ROUNDS {
                assert_eq!(client.push(), (1000, n.to_string()));
            }
        }
    });
    for (client, room) in staying.iter_mut().zip(&rooms) {
        eventually("it is alone again", || members(&engine, room) == 1);
        assert_eq!(client.heartbeat(), 1);
        assert!(client.has_no_push());
    }
    assert_eq!(total(&engine, |it| it.slow_disconnected), 0);
    stop(engine);
}

#[test]
fn a_heartbeat_counts_the_room_of_all_shards() {
    let engine = start(goim_config(SHARDS));
    let addr = engine.client_addrs()[0];
    let mut clients: Vec<Goim> = (0..60)
        .map(|n| {
            let form = [Form::Tcp, Form::WebSocket][n % 2];
            Goim::connect(addr, form, &format!(r#"{{"room_id":"live://{}"}}"#, n % 3))
        })
        .collect();
    for room in 0..3 {
        eventually("all are counted", || {
            members(&engine, &format!("live://{room}")) == 20
        });
    }
    for client in &mut clients {
        assert_eq!(client.heartbeat(), 20);
    }
    for client in clients.iter_mut().step_by(3) {
        client.change_room("live://1");
    }
    assert_eq!(clients[1].heartbeat(), 40);
    assert_eq!(clients[0].heartbeat(), 40);
    eventually("nobody is left there", || members(&engine, "live://0") == 0);
    // Nobody is counted in a room without a name, and nobody by a room that they are only put into.
    for client in clients.iter_mut().skip(2).step_by(3) {
        client.change_room("");
        assert_eq!(client.heartbeat(), 0);
    }
    drop(clients);
    eventually("all have gone", || members(&engine, "live://1") == 0);
    stop(engine);
}

/// However many changes come at once, a client has few joins under way.
#[test]
fn any_number_of_changes_may_come_at_once() {
    let mut config = goim_config(SHARDS);
    config.limits.requests_in_flight_max = 2;
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let rooms = rooms(9);
    let mut client = Goim::tcp(addr, r#"{"room_id":"live://8"}"#);
    let many: Vec<&str> = (0..2_000).map(|n| &*rooms[n % 9]).collect();
    change_at_once(&mut client, &many);
    all_answered(&mut client, &many);
    is_only_in(&engine, &mut client, many[many.len() - 1], &rooms);
    stop(engine);
}
