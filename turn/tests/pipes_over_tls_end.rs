//! RFC 6062 over TLS, where an end has to be announced, or it might be an attacker's (RFC 8446 section 6.1).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use fanfare_turn::budget::Rate;
use fanfare_turn::relay::Config;
use fanfare_turn::server::{Server, ServerConfig, StreamLimits};
use fanfare_turn::stun::{
    AttributeType, Class, Integrity, Key, Message, Method, PasswordAlgorithm, Writer,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConnection, RootCertStore, StreamOwned};

mod live;

use live::{Client, PATIENCE, REALM, config, counted, start};

type Tls = StreamOwned<ClientConnection, TcpStream>;

#[test]
fn a_client_is_told_that_its_peer_has_ended() {
    let server = server();
    let mut client = Client::tcp(&server);
    let (mut peer, mut data) = connected(&server, &mut client);
    peer.write_all(b"goodbye").expect("sent");
    drop(peer);
    let mut heard = Vec::new();
    // An end that is not announced is an error.
    data.read_to_end(&mut heard).expect("an end");
    assert_eq!(heard, b"goodbye");
    counted(&server, |it| it.connections == 0 && it.streams == 1);
    server.stop();
}

#[test]
fn what_is_said_together_with_the_end_is_passed_on() {
    let server = server();
    let mut client = Client::tcp(&server);
    let (mut peer, mut data) = connected(&server, &mut client);
    data.conn.writer().write_all(b"goodbye").expect("memory");
    data.conn.send_close_notify();
    let mut records = Vec::new();
    while data.conn.wants_write() {
        data.conn.write_tls(&mut records).expect("memory");
    }
    data.sock.write_all(&records).expect("sent");
    let mut heard = Vec::new();
    peer.read_to_end(&mut heard).expect("an end");
    assert_eq!(heard, b"goodbye");
    counted(&server, |it| it.connections == 0 && it.streams == 1);
    server.stop();
}

#[test]
fn one_source_begins_so_many_handshakes() {
    let server = server_with(StreamLimits {
        // In the long run next to nothing.
        handshakes: Rate::new(1, 3),
        ..StreamLimits::default()
    });
    let connect = |at: SocketAddr| {
        let stream = TcpStream::connect(at).expect("a connection");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket option");
        stream
    };
    let many: Vec<_> = (0..20).map(|_| connect(server.tls()[0])).collect();
    let all = counted(&server, |it| it.streams + it.tls_handshakes_refused == 20);
    assert!(
        all.streams >= 3 && all.tls_handshakes_refused >= 1,
        "{all:?}"
    );
    let closed = many.iter().filter(|it| {
        it.set_nonblocking(true).expect("a socket option");
        let mut it: &TcpStream = it;
        matches!(it.read(&mut [0; 1]), Ok(0))
    });
    assert_eq!(closed.count() as u64, all.tls_handshakes_refused);
    // Without TLS there is none.
    let _plain: Vec<_> = (0..20).map(|_| connect(server.tcp()[0])).collect();
    counted(&server, |it| it.streams == all.streams + 20);
    server.stop();
}

#[test]
fn without_a_certificate_there_is_no_tls() {
    let server = server();
    drop(tls(&server));
    counted(&server, |it| it.streams_left + it.streams == 1);
    server.handle().set_tls(None);
    // Until that has reached the thread, connections are taken.
    let refused = std::iter::repeat_with(|| {
        let mut stream = TcpStream::connect(server.tls()[0]).expect("a connection");
        stream
            .set_read_timeout(Some(std::time::Duration::from_millis(20)))
            .expect("a socket option");
        matches!(stream.read(&mut [0; 1]), Ok(0))
    });
    assert!(refused.take(90).any(|it| it));
    counted(&server, |it| it.streams_refused >= 1);
    server.stop();
}

fn server() -> Server {
    server_with(StreamLimits::default())
}

fn server_with(streams: StreamLimits) -> Server {
    let certificate = CertificateDer::from_pem_file(key_file("backend.cert.pem"));
    let key = PrivateKeyDer::from_pem_file(key_file("backend.pem")).expect("a key");
    let tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.expect("a certificate")], key);
    let config = config();
    start(ServerConfig {
        tls: vec!["127.0.0.1:0".parse().expect("a socket")],
        tls_config: Some(Arc::new(tls.expect("a certificate and its key"))),
        streams,
        config: Config {
            has_tcp: true,
            ..config.config
        },
        ..config
    })
}

/// `backend` is for `localhost`, and signed by `authority`.
fn key_file(name: &str) -> std::path::PathBuf {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../control/tests/keys");
    keys.join(name)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A peer, and the client's own connection for it.
fn connected(server: &Server, client: &mut Client) -> (TcpStream, Tls) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let id = connect(client, listener.local_addr().expect("bound"));
    let (peer, _) = listener.accept().expect("a connection");
    let patience = Some(PATIENCE);
    peer.set_read_timeout(patience).expect("a socket option");
    let mut data = tls(server);
    let challenge = bind(&mut data, id, None);
    let challenge = Message::parse(&challenge).expect("a message");
    let nonce = challenge.first(AttributeType::NONCE).expect("a nonce");
    let answer = bind(&mut data, id, Some(nonce));
    let answer = Message::parse(&answer).expect("a message");
    assert_eq!(answer.class(), Class::Success);
    (peer, data)
}

/// Has the client allocate, and connect to the peer; the connection's number.
fn connect(client: &mut Client, peer: SocketAddr) -> [u8; 4] {
    let (code, _) = client.ask(Method::ALLOCATE, |writer| {
        writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
    });
    assert_eq!(code, None);
    let (code, answer) = client.ask(Method::CONNECT, |writer| {
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    });
    assert_eq!(code, None);
    let answer = Message::parse(&answer).expect("a message");
    let id = answer.first(AttributeType::CONNECTION_ID);
    id.and_then(|id| id.try_into().ok()).expect("four bytes")
}

fn tls(server: &Server) -> Tls {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(key_file("authority.cert.pem"));
    let added = roots.add(authority.expect("a certificate"));
    added.expect("an authority");
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name);
    let stream = TcpStream::connect(server.tls()[0]).expect("a connection");
    let patience = Some(PATIENCE);
    stream.set_read_timeout(patience).expect("a socket option");
    StreamOwned::new(connection.expect("a configuration"), stream)
}

/// Asks for the connection, signed if there is a nonce; the answer.
fn bind(data: &mut Tls, id: [u8; 4], nonce: Option<&[u8]>) -> Vec<u8> {
    let mut request = Vec::new();
    let transaction = [u8::from(nonce.is_some()); 12];
    let (class, method) = (Class::Request, Method::CONNECTION_BIND);
    let mut writer = Writer::new(&mut request, class, method, transaction);
    writer.attribute(AttributeType::CONNECTION_ID, &id);
    if let Some(nonce) = nonce {
        let realm = REALM.as_bytes();
        let key = Key::long_term(PasswordAlgorithm::Md5, b"ann", realm, b"secret");
        writer
            .attribute(AttributeType::USERNAME, b"ann")
            .attribute(AttributeType::REALM, realm)
            .attribute(AttributeType::NONCE, nonce)
            .integrity(Integrity::Sha1, &key);
    }
    data.write_all(&request).expect("sent");
    let mut answer = vec![0; 20];
    data.read_exact(&mut answer).expect("a header");
    let length = usize::from(u16::from_be_bytes([answer[2], answer[3]]));
    answer.resize(20 + length, 0);
    data.read_exact(&mut answer[20..]).expect("a message");
    answer
}
