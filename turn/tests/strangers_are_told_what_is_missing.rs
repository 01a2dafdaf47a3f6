//! Who may use the relay (RFC 8489 section 9.2), and what the others cost.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;

use fanfare_turn::budget::Rate;
use fanfare_turn::credentials::Credentials;
use fanfare_turn::relay::{Access, Action, Config, Dropped};
use fanfare_turn::stun::{
    AttributeType, Class, Integrity, Key, Message, Method, PasswordAlgorithm, Writer, userhash,
};
use support::{REALM, Reply, Setup, UDP, User, World, access, dropped, udp};

const ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

#[test]
fn a_stranger_is_told_realm_and_nonce_and_leaves_nothing_behind() {
    let mut world = World::new(Setup {
        config: Config {
            strangers: Rate::new(1_000_000, 1_000_000),
            ..Config::default()
        },
        ..Setup::default()
    });
    let mut bare = Vec::new();
    Writer::new(&mut bare, Class::Request, Method::ALLOCATE, [3; 12])
        .attribute(AttributeType::REQUESTED_TRANSPORT, &UDP);
    let (_, reply) = world.send(udp(5_000), &bare);
    assert!(
        reply.len() <= 4 * bare.len(),
        "{} for {}",
        reply.len(),
        bare.len()
    );
    let reply = Reply::read(&reply);
    assert_eq!(reply.code, Some(401));
    assert_eq!(reply.of(AttributeType::REALM), Some(REALM.as_bytes()));
    assert_eq!(
        reply.of(AttributeType::PASSWORD_ALGORITHMS),
        Some(&ALGORITHMS[..])
    );
    let nonce = reply.of(AttributeType::NONCE).expect("a nonce");
    // PASSWORD-ALGORITHMS; not USERHASH, for nobody knows the names of those who come with a secret's password.
    assert!(nonce.starts_with(b"obMatJos2gAAA"));
    for attribute in [AttributeType::SOFTWARE, AttributeType::MESSAGE_INTEGRITY] {
        assert_eq!(reply.of(attribute), None);
    }
    for method in [
        Method::REFRESH,
        Method::CREATE_PERMISSION,
        Method::CHANNEL_BIND,
        Method::CONNECT,
    ] {
        let mut bare = Vec::new();
        Writer::new(&mut bare, Class::Request, method, [3; 12]);
        assert_eq!(
            Reply::read(&world.send(udp(5_000), &bare).1).code,
            Some(401)
        );
    }
    assert_eq!(
        (
            world.host.opened,
            world.shared.allocation_count(),
            world.relay.allocations().len()
        ),
        (0, 0, 0)
    );
}

#[test]
fn strangers_are_answered_so_often_and_users_always() {
    let mut world = World::new(Setup {
        config: Config {
            strangers: Rate::new(10, 20),
            bindings: Rate::new(10, 20),
            ..Config::default()
        },
        ..Setup::default()
    });
    let ann = User::new(&mut world, udp(5_000), "ann");
    let request = |method| {
        let mut bare = Vec::new();
        Writer::new(&mut bare, Class::Request, method, [3; 12]);
        bare
    };
    let answered = |world: &mut World, method| {
        let request = request(method);
        (0..100_u16)
            .filter(|port| world.send(udp(6_000 + port), &request).0 == Action::Reply)
            .count()
    };
    assert_eq!(answered(&mut world, Method::ALLOCATE), 19);
    assert_eq!(answered(&mut world, Method::BINDING), 20);
    let refused = request(Method::ALLOCATE);
    assert_eq!(
        dropped(world.send(udp(7_000), &refused).0),
        Dropped::Strangers
    );
    // From the same address, but known.
    assert_eq!(ann.allocate(&mut world, &[]).code, None);
    world.pass(1);
    assert_eq!(answered(&mut world, Method::ALLOCATE), 10);
}

#[test]
fn names_may_be_hashed_where_all_are_known() {
    let mut world = World::default();
    let before = User::new(&mut world, udp(5_000), "ann");
    let users = [("ann".to_owned(), "ann's password".to_owned())];
    world.relay.set_access(Access {
        credentials: Arc::new(Credentials::new(REALM, [], users)),
        ..access(&["192.0.2.0/24"])
    });
    let mut ann = User::new(&mut world, udp(5_001), "ann");
    assert!(ann.nonce.starts_with(b"obMatJos2wAAA"));
    // What was said before is still good, and its letter cannot be changed.
    assert_eq!(before.allocate(&mut world, &[]).code, None);
    ann.nonce[9] = b'g';
    assert_eq!(ann.allocate(&mut world, &[]).code, Some(438));
    ann.nonce[9] = b'w';
    assert_eq!(ann.allocate(&mut world, &[]).code, None);
}

#[test]
fn passwords_are_tried_so_often_and_no_faster() {
    let mut world = World::new(Setup {
        config: Config {
            strangers: Rate::new(10, 20),
            ..Config::default()
        },
        ..Setup::default()
    });
    let ann = User::new(&mut world, udp(5_000), "ann");
    assert_eq!(ann.allocate(&mut world, &[]).code, None);
    let late = User::new(&mut world, udp(5_001), "bob");
    world.pass(10);
    let mut guess = late.clone();
    guess.key = ann.key;
    let attributes = [(AttributeType::REQUESTED_TRANSPORT, &UDP[..])];
    let wrong = guess.request(Method::ALLOCATE, [5; 12], &attributes, &[]);
    let right = late.request(Method::ALLOCATE, [6; 12], &attributes, &[]);
    let answered = (0..100)
        .filter(|_| world.send(late.client, &wrong).0 == Action::Reply)
        .count();
    assert_eq!(answered, 20);
    assert_eq!(world.relay.tally().auth_failures, 20);
    // The right one would not be seen among them, wherever at that address it comes from.
    assert_eq!(
        dropped(world.send(late.client, &right).0),
        Dropped::Strangers
    );
    // Who has an allocation is known by it, and others are not meant.
    assert_eq!(ann.refresh(&mut world, 600).code, None);
    let mut elsewhere = udp(5_001);
    elsewhere.remote = "203.0.113.8:5001".parse().expect("a socket");
    let bob = User::new(&mut world, elsewhere, "bob");
    assert_eq!(bob.allocate(&mut world, &[]).code, None);
    world.pass(1);
    assert_eq!(Reply::read(&world.send(late.client, &right).1).code, None);
}

#[test]
fn somebody_else_may_know_a_user() {
    let mut world = World::new(Setup {
        config: Config {
            asks: true,
            strangers: Rate::new(10, 20),
            ..Config::default()
        },
        ..Setup::default()
    });
    let attributes = [(AttributeType::REQUESTED_TRANSPORT, &UDP[..])];
    let zoe = User::new(&mut world, udp(5_000), "zoe");
    let request = zoe.request(Method::ALLOCATE, [5; 12], &attributes, &[]);
    assert_eq!(world.send(zoe.client, &request).0, Action::Ask(b"zoe"));
    // Who is known here is not asked about.
    let mut ann = User::new(&mut world, udp(5_001), "ann");
    assert_eq!(ann.allocate(&mut world, &[]).code, None);
    ann.client = udp(5_002);
    ann = User {
        key: zoe.key,
        ..User::new(&mut world, udp(5_002), "ann")
    };
    assert_eq!(ann.allocate(&mut world, &[]).code, Some(401));
    // There is no such user; and then there is, with another password, and with this one, for a while.
    let until_s = world.now.unix_s + 100;
    let now = world.now;
    world.relay.learn(b"zoe", None, until_s, now);
    assert_eq!(zoe.allocate(&mut world, &[]).code, Some(401));
    world.relay.learn(b"zoe", Some(b"another"), until_s, now);
    assert_eq!(zoe.allocate(&mut world, &[]).code, Some(401));
    world
        .relay
        .learn(b"zoe", Some(b"zoe's password"), until_s, now);
    assert_eq!(zoe.allocate(&mut world, &[]).code, None);
    world.pass(100);
    assert_eq!(zoe.refresh(&mut world, 600).code, None);
    let late = User::new(&mut world, udp(5_003), "zoe");
    let request = late.request(Method::ALLOCATE, [6; 12], &attributes, &[]);
    assert_eq!(world.send(late.client, &request).0, Action::Ask(b"zoe"));
    let mut reply = Vec::new();
    world.relay.not_learned(&request, &mut reply);
    assert_eq!(Reply::read(&reply).code, Some(500));
    // Names are made up no faster than passwords.
    let asked = (0..100).filter(|number| {
        let mut eve = late.clone();
        eve.name = format!("eve {number}").into_bytes();
        let request = eve.request(Method::ALLOCATE, [7; 12], &attributes, &[]);
        matches!(world.send(eve.client, &request).0, Action::Ask(_))
    });
    assert_eq!(asked.count(), 19);
}

#[test]
fn a_binding_that_asks_for_more_is_told_what_is_not_known() {
    let mut world = World::default();
    let mut request = Vec::new();
    Writer::new(&mut request, Class::Request, Method::BINDING, [7; 12])
        .attribute(AttributeType(0x7abc), &[1, 2, 3, 4])
        .attribute(AttributeType(0xfabc), &[1, 2, 3, 4]);
    let reply = Reply::read(&world.send(udp(5_000), &request).1);
    assert_eq!(reply.code, Some(420));
    assert_eq!(
        reply.of(AttributeType::UNKNOWN_ATTRIBUTES),
        Some(&[0x7a, 0xbc][..])
    );
    assert_eq!(reply.of(AttributeType::XOR_MAPPED_ADDRESS), None);
}

#[test]
fn what_belongs_to_a_signature_is_there_or_the_request_is_bad() {
    use AttributeType as A;
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    let parts = [
        (A::USERNAME, &b"ann"[..]),
        (A::REALM, REALM.as_bytes()),
        (A::NONCE, &ann.nonce),
    ];
    let ask = |world: &mut World, parts: &[(A, &[u8])]| {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, Method::ALLOCATE, [4; 12]);
        writer.attribute(A::REQUESTED_TRANSPORT, &UDP);
        for (kind, value) in parts {
            writer.attribute(*kind, value);
        }
        writer.integrity(Integrity::Sha1, &ann.key);
        let reply = Reply::read(&world.send(ann.client, &out).1);
        reply.code
    };
    for without in 0..3 {
        let some: Vec<_> = parts
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != without)
            .map(|(_, it)| *it)
            .collect();
        assert_eq!(ask(&mut world, &some), Some(400));
    }
    let hash = userhash(b"ann", REALM.as_bytes());
    let long = [b'a'; 509];
    // What was offered was changed on the way, or what was chosen was not offered (bid-down).
    for extra in [
        vec![(A::USERHASH, &hash[..])],
        vec![(A::PASSWORD_ALGORITHM, &[0, 1, 0, 0])],
        vec![(A::PASSWORD_ALGORITHMS, &ALGORITHMS)],
        vec![
            (A::PASSWORD_ALGORITHMS, &ALGORITHMS[4..]),
            (A::PASSWORD_ALGORITHM, &[0, 1, 0, 0]),
        ],
        vec![
            (A::PASSWORD_ALGORITHMS, &ALGORITHMS),
            (A::PASSWORD_ALGORITHM, &[0, 3, 0, 0]),
        ],
    ] {
        let all: Vec<_> = parts.iter().copied().chain(extra.iter().copied()).collect();
        assert_eq!(ask(&mut world, &all), Some(400), "{extra:?}");
    }
    assert_eq!(
        ask(&mut world, &[(A::USERNAME, &long), parts[1], parts[2]]),
        Some(400)
    );
    assert_eq!(
        ask(
            &mut world,
            &[(A::USERNAME, b"ann"), (A::REALM, b"example.com"), parts[2]]
        ),
        Some(401)
    );
    assert_eq!(world.relay.allocations().len(), 0);
    assert_eq!(ask(&mut world, &parts), None);
}

#[test]
fn a_nonce_is_good_for_its_time_and_its_client() {
    let mut world = World::default();
    let mut ann = User::new(&mut world, udp(5_000), "ann");
    ann.allocate(&mut world, &[]);
    let elsewhere = User {
        client: udp(5_001),
        ..ann.clone()
    };
    let reply = elsewhere.allocate(&mut world, &[]);
    assert_eq!(reply.code, Some(438));
    assert!(
        reply
            .of(AttributeType::NONCE)
            .is_some_and(|it| it != ann.nonce)
    );
    for _ in 0..10 {
        world.pass(400);
        let reply = ann.refresh(&mut world, 600);
        if reply.code == Some(438) {
            ann.nonce = reply.of(AttributeType::NONCE).expect("a nonce").to_vec();
            assert_eq!(ann.refresh(&mut world, 600).code, None);
        }
    }
    let mut damaged = ann.clone();
    damaged.nonce[20] ^= 1;
    assert_eq!(damaged.refresh(&mut world, 600).code, Some(438));
}

#[test]
fn a_wrong_password_and_a_wrong_name_look_alike() {
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    let wrong = Key::long_term(PasswordAlgorithm::Md5, b"ann", REALM.as_bytes(), b"a guess");
    let replies = [&b"ann"[..], b"eve", b"9999999999:eve", b"1:eve"].map(|name| {
        let user = User {
            name: name.into(),
            key: wrong,
            ..ann.clone()
        };
        let request = user.request(
            Method::ALLOCATE,
            [6; 12],
            &[(AttributeType::REQUESTED_TRANSPORT, &UDP)],
            &[],
        );
        world.send(user.client, &request).1
    });
    assert_eq!(Reply::read(&replies[0]).code, Some(401));
    assert!(replies.iter().all(|it| *it == replies[0]));
}

#[test]
fn credentials_that_have_ended_make_nothing_new_but_keep_what_there_is() {
    let mut world = World::default();
    let now_s = u64::from(world.now.unix_s);
    let it = access(&[])
        .credentials
        .mint("eve", now_s + 100)
        .expect("there is a secret");
    let user = |world: &mut World, port| {
        let ann = User::new(world, udp(port), "ann");
        let key = Key::long_term(
            PasswordAlgorithm::Md5,
            it.user.as_bytes(),
            REALM.as_bytes(),
            it.password.as_bytes(),
        );
        User {
            name: it.user.clone().into_bytes(),
            key,
            ..ann
        }
    };
    let eve = user(&mut world, 5_000);
    assert_eq!(eve.allocate(&mut world, &[]).code, None);
    world.pass(100);
    assert_eq!(eve.refresh(&mut world, 600).code, None);
    let late = user(&mut world, 5_001);
    assert_eq!(late.allocate(&mut world, &[]).code, Some(401));
    eve.refresh(&mut world, 0);
    assert_eq!(eve.allocate(&mut world, &[]).code, Some(401));
}

#[test]
fn a_five_tuple_is_one_users() {
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    ann.allocate(&mut world, &[]);
    let bob = User::new(&mut world, udp(5_001), "bob");
    let in_between = User {
        client: ann.client,
        nonce: ann.nonce.clone(),
        ..bob
    };
    assert_eq!(in_between.refresh(&mut world, 0).code, Some(441));
    assert_eq!(in_between.permit(&mut world, &["192.0.2.1:1"]), Some(441));
    assert_eq!(
        in_between.bind(&mut world, 0x4000, "192.0.2.1:1"),
        Some(441)
    );
    assert_eq!(in_between.allocate(&mut world, &[]).code, Some(437));
    assert_eq!(world.relay.allocations().len(), 1);
}

#[test]
fn names_may_be_hidden_and_signatures_be_of_sha256() {
    use AttributeType as A;
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    for (algorithm, number) in [(PasswordAlgorithm::Sha256, 2), (PasswordAlgorithm::Md5, 1)] {
        let key = Key::long_term(algorithm, b"ann", REALM.as_bytes(), b"ann's password");
        for integrity in [Integrity::Sha256, Integrity::Sha1] {
            let mut out = Vec::new();
            Writer::new(
                &mut out,
                Class::Request,
                Method::ALLOCATE,
                world.transaction(),
            )
            .attribute(A::REQUESTED_TRANSPORT, &UDP)
            .attribute(A::USERHASH, &userhash(b"ann", REALM.as_bytes()))
            .attribute(A::REALM, REALM.as_bytes())
            .attribute(A::NONCE, &ann.nonce)
            .attribute(A::PASSWORD_ALGORITHMS, &ALGORITHMS)
            .attribute(A::PASSWORD_ALGORITHM, &[0, number, 0, 0])
            .integrity(integrity, &key)
            .fingerprint();
            let (_, reply) = world.send(ann.client, &out);
            let message = Message::parse(&reply).expect("a message");
            assert_eq!(
                (message.class(), message.integrity()),
                (Class::Success, Some(integrity))
            );
            assert!(message.is_signed_with(&key) && message.has_fingerprint());
            world
                .relay
                .client_left(&ann.client, world.now, &mut world.host);
        }
    }
}

#[test]
fn answers_do_not_go_round_in_circles() {
    let mut world = World::default();
    let mut request = Vec::new();
    Writer::new(&mut request, Class::Request, Method::BINDING, [3; 12]);
    let (_, reply) = world.send(udp(5_000), &request);
    assert!(reply.len() <= 2 * request.len());
    assert_eq!(
        Reply::read(&reply).addresses(AttributeType::XOR_MAPPED_ADDRESS),
        [udp(5_000).remote]
    );
    // An answer is not answered, nor is what comes from port 0 or from the relay itself.
    assert_eq!(
        dropped(world.send(udp(5_000), &reply).0),
        Dropped::Unexpected
    );
    assert_eq!(dropped(world.send(udp(0), &request).0), Dropped::Source);
    let mut own = udp(5_000);
    own.remote = own.local;
    assert_eq!(dropped(world.send(own, &request).0), Dropped::Source);
    for class in [Class::Indication, Class::Success, Class::Error] {
        let mut it = Vec::new();
        Writer::new(&mut it, class, Method::ALLOCATE, [3; 12]);
        assert_eq!(dropped(world.send(udp(5_000), &it).0), Dropped::Unexpected);
    }
}
