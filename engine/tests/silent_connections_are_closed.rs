//! Who says nothing, too little or too late is closed, and its place is free again.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fanfare_engine::{EngineConfig, Limits};
use fanfare_wire::native;
use fanfare_wire::ws::Opcode;
use support::{
    Centrifuge, Client, Event, Frame, Frames, WebSocket, brisk, eventually, open_config, push,
    start, stop, total, upgrade_request,
};

fn hasty() -> EngineConfig {
    EngineConfig {
        limits: Limits {
            handshake_timeout: Duration::from_millis(300),
            ping_interval: Duration::from_millis(600),
            pong_timeout: Duration::from_millis(500),
            close_timeout: Duration::from_millis(300),
            ..brisk()
        },
        ..open_config(2)
    }
}

fn read_to_end(mut stream: TcpStream) -> Vec<u8> {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return all,
            Ok(n) => all.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("not closed: {error}"),
        }
    }
}

#[test]
fn who_does_not_introduce_itself_in_time_is_closed() {
    let engine = start(hasty());
    let addr = engine.client_addrs()[0];

    // Nothing at all, and the beginnings of a frame and of a head.
    for beginning in [&b""[..], b"\x10\0\0", b"GET /connection/websocket HT"] {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(beginning).unwrap();
        assert_eq!(read_to_end(stream), b"", "{beginning:?}");
    }
    // Whose protocol is known is told, in that protocol.
    let mut native = Client::open(addr);
    native.send_bytes(b"\x10\0\0\0\x01").unwrap();
    assert_eq!(native.rest(), [Frame::Disconnect { code: 3502 }]);
    let mut silent = WebSocket::open(addr, "/connection/websocket");
    assert_eq!(silent.closed_with(), Some(3502));
    // What is not Centrifuge does not count as an introduction.
    let mut pinging = WebSocket::open(addr, "/connection/websocket");
    pinging.send(Opcode::Ping, b"here");
    assert_eq!(pinging.next(), Event::Pong(b"here".to_vec()));
    assert_eq!(pinging.closed_with(), Some(3502));

    assert_eq!(total(&engine, |it| it.handshake_timeouts), 6);
    eventually("all are closed", || {
        total(&engine, |it| it.connections) == 0
    });
    stop(engine);
}

#[test]
fn a_byte_now_and_then_does_not_buy_time() {
    let engine = start(hasty());
    let addr = engine.client_addrs()[0];
    let mut hello = Vec::new();
    native::write_hello(
        &mut hello,
        &native::Hello {
            token: "a token that is long enough",
            client_name: "and a name",
        },
    );
    let head = upgrade_request("/connection/websocket");
    let mut slow: Vec<(TcpStream, &[u8])> = (0..20)
        .flat_map(|_| [head.as_bytes(), &hello])
        .map(|bytes| (TcpStream::connect(addr).unwrap(), bytes))
        .collect();
    let mut lively = Client::connect(addr, "lively");
    lively.join("news");

    let began = Instant::now();
    let mut at = 0;
    while total(&engine, |it| it.handshake_timeouts) < 40 {
        assert!(began.elapsed() < Duration::from_secs(20), "never closed");
        for (stream, bytes) in &mut slow {
            // Whom the server has closed cannot write any more, some time later.
            if let Some(byte) = bytes.get(at) {
                let _ = stream.write_all(&[*byte]);
            }
        }
        at += 1;
        // Meanwhile others are served.
        let published = push(&engine, "news", &at.to_string());
        assert_eq!(lively.publication().0, published.position.offset);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(at < hello.len().min(head.len()), "they were still speaking");
    assert_eq!(total(&engine, |it| it.authenticated), 1);
    drop(slow);
    stop(engine);
}

#[test]
fn who_does_not_answer_a_ping_is_disconnected() {
    let engine = start(hasty());
    let addr = engine.client_addrs()[0];

    let mut native = Client::connect(addr, "");
    native.answers_pings = false;
    assert_eq!(
        native.rest(),
        [Frame::Ping, Frame::Disconnect { code: 3012 }]
    );

    let mut framed = Frames::connect(addr, "");
    assert_eq!(framed.next(), Frame::Ping);
    assert_eq!(framed.next(), Frame::Disconnect { code: 3012 });
    assert_eq!(framed.0.closed_with(), Some(3012));

    let mut json = Centrifuge::connect(addr, "");
    assert_eq!(json.ws.next(), Event::Text("{}".to_owned()));
    assert_eq!(json.ws.closed_with(), Some(3012));

    assert_eq!(total(&engine, |it| it.pong_timeouts), 3);
    drop((native, framed, json));
    eventually("all are closed", || {
        total(&engine, |it| it.connections) == 0
    });
    stop(engine);
}

#[test]
fn who_answers_pings_stays() {
    let engine = start(hasty());
    let addr = engine.client_addrs()[0];
    let mut native = Client::connect(addr, "");
    native.answers_pings = false;
    let mut json = Centrifuge::connect(addr, "");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..4 {
                assert_eq!(native.next(), Frame::Ping);
                native.send(native::write_client_pong);
            }
        });
        for _ in 0..4 {
            assert_eq!(json.ws.next(), Event::Text("{}".to_owned()));
            json.send("{}");
        }
    });
    // A pong nobody asked for is no harm.
    native.send(native::write_client_pong);
    assert!(native.has_nothing_to_read());
    assert!(json.has_no_push());
    assert_eq!(total(&engine, |it| it.pong_timeouts), 0);
    stop(engine);
}

#[test]
fn who_is_told_to_go_and_stays_is_closed_all_the_same() {
    let engine = start(hasty());
    let addr = engine.client_addrs()[0];
    // These neither read nor close.
    let mut told: Vec<Client> = (0..50).map(|_| Client::connect(addr, "")).collect();
    for client in &mut told {
        client.hello("again");
    }
    eventually("all are closed", || {
        total(&engine, |it| it.connections) == 0
    });
    assert_eq!(total(&engine, |it| it.connections_closed), 50);
    for mut client in told {
        assert_eq!(client.rest(), [Frame::Disconnect { code: 3501 }]);
    }
    // Who has been told, goes on talking and reads nothing is no exception.
    let mut talking = Client::connect(addr, "");
    talking.hello("again");
    eventually("it is closed", || {
        let _ = talking.send_bytes(&[0; 1000]);
        total(&engine, |it| it.connections) == 0
    });
    stop(engine);
}

#[test]
fn who_says_no_more_still_hears_the_answers_to_what_it_asked() {
    let engine = start(open_config(3));
    let addr = engine.client_addrs()[0];
    let mut client = Client::connect(addr, "");
    client.send(native::write_client_ping);
    client.say_no_more();
    assert_eq!(client.rest(), [Frame::Pong]);
    eventually("it is closed", || total(&engine, |it| it.connections) == 0);
    stop(engine);
}

#[test]
fn a_message_that_does_not_get_on_ends_its_connection() {
    let mut config = hasty();
    config.limits.handshake_timeout = Duration::from_secs(10);
    config.limits.message_timeout = Duration::from_secs(1);
    config.limits.ping_interval = Duration::from_millis(2000);
    config.limits.pong_timeout = Duration::from_millis(1900);
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    // Half a frame, a fragment without the rest, and half a native frame.
    let mut half = Centrifuge::connect(addr, "");
    half.ws.send_bytes(b"\x81\x94\0\0\0\0{\"id\"");
    let mut fragment = Centrifuge::connect(addr, "");
    fragment.ws.send_bytes(b"\x01\x80\0\0\0\0");
    let mut native = Client::connect(addr, "");
    native.send_bytes(b"\x10\0\0\0\x01\x04half").unwrap();
    native.answers_pings = false;
    // Who has said all of it may be silent as long.
    let mut whole = Client::connect(addr, "");
    whole.answers_pings = false;
    assert_eq!(
        native.rest().last(),
        Some(&Frame::Disconnect { code: 3008 })
    );
    for client in [&mut half, &mut fragment] {
        let ended = loop {
            match client.ws.next() {
                Event::Text(ping) if ping == "{}" => {}
                other => break other,
            }
        };
        assert_eq!(ended, Event::Close(Some(3008)));
    }
    assert_eq!(
        whole.rest(),
        [Frame::Ping, Frame::Disconnect { code: 3012 }]
    );
    assert_eq!(total(&engine, |it| it.message_timeouts), 3);
    stop(engine);
}
