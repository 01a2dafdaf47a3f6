//! goim from end to end: clients over TCP and WebSocket, in both versions, hear what services push through goim's HTTP API
//! of a running server, and services read how many there are.

#[path = "../../engine/tests/support/goim.rs"]
mod goim;
mod server;

use std::net::SocketAddr;

use goim::{Form, Goim, Told};
use server::{Server, eventually};

/// As an old installation has it: whatever clients say is believed.
const TRUSTING: &str = "
    [goim]
    trust_clients = true
    key_connections_max = 2
    [namespaces.live]
    [namespaces.test]
";

/// Clients bring tokens.
const STRICT: &str = "[namespaces.live]\n[namespaces.test]\n";

const DONE: &str = r#"{"code":0,"message":""}"#;
const DONE_V1: &str = r#"{"ret":1}"#;

fn clients(server: &Server) -> SocketAddr {
    server.clients().parse().expect("an address")
}

/// The body of the answer.
fn call(server: &Server, verb: &str, path: &str, body: &str) -> String {
    let answer = server.http(verb, path, &[("X-API-Key", &server.key)], body);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.body
}

fn post(server: &Server, path: &str, body: &str) {
    let done = if path.starts_with("/1/") {
        DONE_V1
    } else {
        DONE
    };
    assert_eq!(call(server, "POST", path, body), done, "{path}");
}

fn get(server: &Server, path: &str) -> String {
    call(server, "GET", path, "")
}

/// A key or a user is found a moment after the client has been answered: pushes something until it is heard.
fn is_reached(server: &Server, client: &mut Goim, path: &str) {
    eventually("it is reached", || {
        post(server, path, "\"reached?\"");
        !client.has_no_push()
    });
}

/// The next push that is not one of [`is_reached`].
fn heard(client: &mut Goim) -> (i32, String) {
    loop {
        let push = client.push();
        if push.1 != "\"reached?\"" {
            return push;
        }
    }
}

#[test]
fn pushes_reach_keys_users_rooms_and_everyone() {
    let server = Server::start(TRUSTING);
    let addr = clients(&server);
    let body = |mid: u32, key: &str, room: &str| {
        format!(
            r#"{{"mid":{mid},"key":"{key}","room_id":"{room}","platform":"web","accepts":[1000,1001]}}"#
        )
    };
    let mut all: Vec<Goim> = [
        (Form::Tcp, 1, "a", ""),
        (Form::WebSocket, 1, "b", ""),
        (Form::Tcp, 2, "c", "live://1000"),
        (Form::WebSocket, 3, "d", "live://1000"),
    ]
    .into_iter()
    .map(|(form, mid, key, room)| Goim::connect(addr, form, &body(mid, key, room)))
    .collect();
    for (client, key) in all.iter_mut().zip(["a", "b"]) {
        is_reached(
            &server,
            client,
            &format!("/goim/push/keys?operation=1000&keys={key}"),
        );
        is_reached(&server, client, "/goim/push/mids?operation=1000&mids=1");
    }
    for client in &mut all[2..] {
        assert_eq!(client.heartbeat(), 2);
    }
    // By key, several at once; who is not there costs the others nothing.
    post(
        &server,
        "/goim/push/keys?operation=1001&keys=a&keys=nobody&keys=b",
        "to keys",
    );
    for client in &mut all[..2] {
        assert_eq!(heard(client), (1001, "to keys".to_owned()));
    }
    // By user: all connections of each.
    post(
        &server,
        "/goim/push/mids?operation=1000&mids=1&mids=99",
        "to users",
    );
    for client in &mut all[..2] {
        assert_eq!(heard(client), (1000, "to users".to_owned()));
    }
    // A room hears every operation.
    post(
        &server,
        "/goim/push/room?operation=4242&type=live&room=1000",
        r#"{"test":1}"#,
    );
    for client in &mut all[2..] {
        assert_eq!(heard(client), (4242, r#"{"test":1}"#.to_owned()));
    }
    // Everyone who accepts it.
    all[0].sub("1002");
    all[3].sub("1002,1003");
    post(
        &server,
        "/goim/push/all?operation=1002&speed=10",
        "to everyone",
    );
    for at in [0, 3] {
        assert_eq!(heard(&mut all[at]), (1002, "to everyone".to_owned()));
    }
    all[3].unsub("1002");
    post(&server, "/goim/push/all?operation=1002", "to fewer");
    assert_eq!(heard(&mut all[0]), (1002, "to fewer".to_owned()));
    // What they were not meant to hear would have come before this.
    post(&server, "/goim/push/all?operation=1000", "the last");
    for client in &mut all {
        assert_eq!(heard(client), (1000, "the last".to_owned()));
    }
}

#[test]
fn services_read_how_many_are_online() {
    let server = Server::start(TRUSTING);
    let addr = clients(&server);
    let mut all: Vec<Goim> = (0..9)
        .map(|n| {
            let form = [Form::Tcp, Form::WebSocket, Form::Json][n % 3];
            let room = ["live://1", "live://1", "live://2", "test://1"][n % 4];
            Goim::connect(addr, form, &format!(r#"{{"room_id":"{room}"}}"#))
        })
        .collect();
    let top =
        r#"{"code":0,"message":"","data":[{"room_id":"1","count":5},{"room_id":"2","count":2}]}"#;
    eventually("all are counted", || {
        get(&server, "/goim/online/top?type=live&limit=10") == top
    });
    assert_eq!(
        get(
            &server,
            "/goim/online/room?type=live&rooms=1&rooms=2&rooms=3"
        ),
        r#"{"code":0,"message":"","data":{"1":5,"2":2,"3":0}}"#
    );
    assert_eq!(
        get(&server, "/goim/online/room?type=test&rooms=1"),
        r#"{"code":0,"message":"","data":{"1":2}}"#
    );
    assert_eq!(
        get(&server, "/goim/online/total"),
        r#"{"code":0,"message":"","data":{"conn_count":9,"ip_count":0}}"#
    );
    // Clients are told the same.
    assert_eq!(all[0].heartbeat(), 5);
    assert_eq!(all[6].heartbeat(), 2);
    // And both are told of changes.
    all[0].change_room("live://2");
    assert_eq!(all[0].heartbeat(), 3);
    let changed = r#"{"code":0,"message":"","data":{"1":4,"2":3}}"#;
    let rooms = "/goim/online/room?type=live&rooms=1&rooms=2";
    eventually("the change is counted", || get(&server, rooms) == changed);
    drop(all);
    let nobody = r#"{"code":0,"message":"","data":{"1":0,"2":0}}"#;
    eventually("all have gone", || get(&server, rooms) == nobody);
    eventually("nobody is connected", || {
        get(&server, "/goim/online/total").contains(r#""conn_count":0"#)
    });
    // With nobody there a push is as good, which the original died of.
    post(
        &server,
        "/goim/push/all?operation=1000&speed=1",
        "nobody hears it",
    );
}

#[test]
fn version_1_hears_services_of_both_versions() {
    let server = Server::start(TRUSTING);
    let addr = clients(&server);
    let mut tcp = Goim::connect(addr, Form::Tcp, "12345,1102");
    let mut json = Goim::connect(addr, Form::Json, "777");
    is_reached(&server, &mut tcp, "/1/push?uid=12345");
    is_reached(&server, &mut json, "/1/push?uid=777");

    post(&server, "/1/push?uid=12345", r#"{"test":1}"#);
    post(&server, "/1/push?uid=777", r#"{"test":2}"#);
    assert_eq!(heard(&mut tcp), (5, r#"{"test":1}"#.to_owned()));
    assert_eq!(heard(&mut json), (5, r#"{"test":2}"#.to_owned()));
    post(&server, "/1/pushs", r#"{"u":[12345,777,1],"m":{"test":3}}"#);
    post(&server, "/1/push/all", r#"{"test":4}"#);
    for client in [&mut tcp, &mut json] {
        let mut both = [heard(client), heard(client)];
        both.sort();
        let expected = [3, 4].map(|n| (5, format!(r#"{{"test":{n}}}"#)));
        assert_eq!(both, expected);
    }
    // Its rooms are those that services put it into: the client has no word for them.
    for user in ["12345", "777"] {
        let asked = format!(r#"{{"user":"{user}","channel":"7"}}"#);
        assert_eq!(server.call("subscribe", &asked).status, 200);
    }
    let rooms = r#"{"data":[{"RoomId":7,"Count":2}],"ret":1}"#;
    eventually("both are counted", || {
        get(&server, "/1/count?type=room") == rooms
    });
    assert_eq!(
        get(&server, "/1/count?type=server"),
        r#"{"data":[{"Server":1,"Count":2}],"ret":1}"#
    );
    post(&server, "/1/push/room?rid=7", r#"{"test":5}"#);
    // Services of version 2 reach them as well, and their operations are not seen.
    post(
        &server,
        "/goim/push/mids?operation=1000&mids=12345&mids=777",
        r#"{"test":6}"#,
    );
    post(&server, "/goim/push/all?operation=1234", r#"{"test":7}"#);
    for client in [&mut tcp, &mut json] {
        let mut three = [heard(client), heard(client), heard(client)];
        three.sort();
        let expected = [5, 6, 7].map(|n| (5, format!(r#"{{"test":{n}}}"#)));
        assert_eq!(three, expected);
    }
    // And the other way round.
    let mut new = Goim::connect(addr, Form::Tcp, r#"{"mid":12345,"accepts":[5]}"#);
    post(&server, "/1/push/all", "1");
    assert_eq!(heard(&mut new), (5, "1".to_owned()));
}

#[test]
fn a_token_of_the_server_lets_a_client_in() {
    let server = Server::start(STRICT);
    let addr = clients(&server);
    let output = server.run(&["token", "--user", "123", "--room", "live://*"]);
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).expect("text");
    let token = token.trim();
    let body = |fields: &str| format!(r#"{{"token":"{token}",{fields}}}"#);

    let mut tcp = Goim::connect(
        addr,
        Form::Tcp,
        &body(r#""mid":123,"key":"123:a","accepts":[1000]"#),
    );
    let mut websocket = Goim::connect(addr, Form::WebSocket, &body(r#""room_id":"live://1""#));
    assert_eq!(websocket.heartbeat(), 1);
    tcp.change_room("live://1");
    assert_eq!(tcp.heartbeat(), 2);
    tcp.change_room("test://1");
    assert_eq!(tcp.heartbeat(), 0);
    is_reached(
        &server,
        &mut tcp,
        "/goim/push/keys?operation=1000&keys=123:a",
    );
    is_reached(&server, &mut tcp, "/goim/push/mids?operation=1000&mids=123");
    post(
        &server,
        "/goim/push/room?operation=1&type=live&room=1",
        "room",
    );
    assert_eq!(heard(&mut websocket), (1, "room".to_owned()));
    // The token alone is what version 1 says.
    let mut old = Goim::connect(addr, Form::Tcp, token);
    is_reached(&server, &mut old, "/1/push?uid=123");

    for (auth, code) in [
        (body(r#""mid":124"#), 3500),
        (body(r#""key":"124""#), 3500),
        (body(r#""room_id":"test://1""#), 3507),
        (r#"{"mid":123}"#.to_owned(), 3500),
        (r#"{"token":"a.b.c"}"#.to_owned(), 3500),
        (format!(r#"{{"token":"{token}x"}}"#), 3500),
    ] {
        let mut client = Goim::open(addr, Form::WebSocket);
        assert_eq!(client.try_auth(&auth), Told::Closed(Some(code)), "{auth}");
        let mut client = Goim::open(addr, Form::Tcp);
        assert_eq!(client.try_auth(&auth), Told::Closed(None), "{auth}");
    }
}

#[test]
fn key_policies_are_as_configured() {
    for (policy, closed) in [("close_oldest", 0), ("reject_newest", 2)] {
        let server = Server::start(&format!("{TRUSTING}\n").replace(
            "key_connections_max = 2",
            &format!("key_connections_max = 2\nkey_policy = '{policy}'"),
        ));
        let addr = clients(&server);
        let body = r#"{"key":"k","accepts":[1000]}"#;
        let path = "/goim/push/keys?operation=1000&keys=k";
        let mut all = Vec::new();
        for _ in 0..2 {
            let mut client = Goim::connect(addr, Form::WebSocket, body);
            is_reached(&server, &mut client, path);
            all.push(client);
        }
        all.push(Goim::connect(addr, Form::WebSocket, body));
        let mut gone = all.remove(closed);
        while let Told::Frame(frame) = gone.next() {
            assert_eq!(frame.body, b"\"reached?\"");
        }
        eventually("two are left", || {
            get(&server, "/goim/online/total").contains(r#""conn_count":2"#)
        });
        post(&server, path, "to two");
        for client in &mut all {
            assert_eq!(heard(client), (1000, "to two".to_owned()));
        }
    }
}

#[test]
fn clients_are_refused_where_goim_is_off() {
    let server = Server::start("[goim]\nenabled = false\ntrust_clients = true\n");
    let mut client = Goim::open(clients(&server), Form::Tcp);
    assert_eq!(client.try_auth("{}"), Told::Closed(None));
    let mut wire = goim::Wire::tcp(clients(&server));
    wire.send_bytes(b"GET /sub HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    wire.expect_bytes(b"HTTP/1.1 404 ");
}
