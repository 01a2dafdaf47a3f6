//! Users whom the configuration does not know, and somebody else does.
#![allow(missing_docs)]

mod live;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use fanfare_turn::credentials::Credentials;
use fanfare_turn::relay::Access;
use fanfare_turn::server::{Answerer, Directory, Said, Server, ServerConfig};
use fanfare_turn::stun::{AttributeType, Method};
use live::{Client, PATIENCE, REALM, config, counted, start};

/// Hands every question to the test.
#[derive(Debug)]
struct Desk(Mutex<Sender<(Vec<u8>, Answerer)>>);

impl Directory for Desk {
    fn ask(&self, user: &[u8], answerer: Answerer) {
        let desk = self.0.lock().expect("no panic");
        desk.send((user.to_vec(), answerer)).expect("a test");
    }
}

fn server() -> (Server, Receiver<(Vec<u8>, Answerer)>) {
    let config = config();
    let (sender, questions) = channel();
    let server = start(ServerConfig {
        directory: Some(Arc::new(Desk(Mutex::new(sender)))),
        access: Access {
            credentials: Arc::new(Credentials::new(REALM, [], [])),
            ..config.access
        },
        ..config
    });
    (server, questions)
}

/// Sends a request for an allocation, and leaves the answer for later.
fn ask(client: &mut Client) {
    client.take_nonce();
    let request = client.request(Method::ALLOCATE, |writer| {
        writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    });
    client.send(&request);
}

fn code(client: &mut Client) -> Option<u16> {
    let answer = client.receive();
    let message = fanfare_turn::stun::Message::parse(&answer).expect("a message");
    let code = message.first(AttributeType::ERROR_CODE)?;
    Some(u16::from(code[2]) * 100 + u16::from(code[3]))
}

#[test]
fn a_request_waits_for_its_user_to_be_known() {
    let (server, questions) = server();
    let mut clients = [Client::udp(&server), Client::tcp(&server)];
    for client in &mut clients {
        ask(client);
    }
    let (user, answerer) = questions.recv_timeout(PATIENCE).expect("a question");
    assert_eq!(user, b"ann");
    // Both wait for one answer.
    counted(&server, |it| it.client_packets == 4);
    assert!(questions.try_recv().is_err());
    answerer.answer(Said::Password(b"secret".to_vec(), u32::MAX));
    for client in &mut clients {
        assert_eq!(code(client), None);
    }
    // It is known from now on.
    let mut late = Client::udp(&server);
    late.allocate();
    assert!(questions.try_recv().is_err());
    server.stop();
}

#[test]
fn who_is_not_known_is_told_so() {
    let (server, questions) = server();
    let mut client = Client::udp(&server);
    ask(&mut client);
    let (_, answerer) = questions.recv_timeout(PATIENCE).expect("a question");
    answerer.answer(Said::Nobody(u32::MAX));
    assert_eq!(code(&mut client), Some(401));
    server.stop();
}

#[test]
fn without_an_answer_it_is_to_be_asked_again() {
    let (server, questions) = server();
    for _ in 0..2 {
        let mut client = Client::tcp(&server);
        ask(&mut client);
        drop(questions.recv_timeout(PATIENCE).expect("a question"));
        assert_eq!(code(&mut client), Some(500));
    }
    server.stop();
}

#[test]
fn who_has_left_meanwhile_is_given_nothing() {
    let (server, questions) = server();
    let mut clients = [Client::tcp(&server), Client::tcp(&server)];
    for client in &mut clients {
        ask(client);
    }
    let (_, answerer) = questions.recv_timeout(PATIENCE).expect("a question");
    counted(&server, |it| it.client_packets == 4);
    let [gone, mut here] = clients;
    drop(gone);
    counted(&server, |it| it.streams == 1);
    answerer.answer(Said::Password(b"secret".to_vec(), u32::MAX));
    // The requests go on in the order in which they came.
    assert_eq!(code(&mut here), None);
    counted(&server, |it| it.allocations == 1);
    server.stop();
}

#[test]
fn a_password_that_has_ended_is_asked_for_once() {
    let (server, questions) = server();
    let mut client = Client::udp(&server);
    ask(&mut client);
    let (_, answerer) = questions.recv_timeout(PATIENCE).expect("a question");
    answerer.answer(Said::Password(b"secret".to_vec(), 0));
    // Who has waited for it gets what they have asked for; the next one asks again.
    assert_eq!(code(&mut client), None);
    assert!(questions.try_recv().is_err());
    server.stop();
}
