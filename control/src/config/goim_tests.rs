use super::goim::KeyPolicy;
use super::load::load;
use super::{Auto, GoimSettings};

fn read(text: &str) -> Result<GoimSettings, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.toml");
    std::fs::write(&path, text).expect("a file");
    let loaded = load(Some(&path), []);
    let name = path.to_string_lossy().into_owned();
    loaded
        .map(|loaded| loaded.settings.goim)
        .map_err(|error| error.to_string().replace(&name, "f.toml"))
}

#[test]
fn every_option_is_read() {
    let goim = read(
        "
        [goim]
        enabled = false
        http_api_without_key = true
        trust_clients = true
        default_operation = 5
        key_connections_max = 3
        key_policy = 'reject_newest'
        heartbeat = '30s'
        heartbeat_max = 3
        domain = 'conn.example.org'
        tcp_port = 3101
        ws_port = 0
        wss_port = 'auto'
        nodes = ['a.example.org', '10.0.0.1', '[2001:db8::1]:3101']
        backoff_base_delay = '1s'
        backoff_max_delay = '1s'
        backoff_factor = 2
        backoff_jitter = 0.5
        ",
    )
    .expect("it is fine");
    assert!(!goim.enabled && goim.http_api_without_key && goim.trust_clients);
    assert_eq!(goim.default_operation, 5);
    assert_eq!(goim.key_connections_max, 3);
    assert_eq!(goim.key_policy, KeyPolicy::RejectNewest);
    assert_eq!(goim.heartbeat.0.as_secs(), 30);
    assert_eq!(goim.heartbeat_max, 3);
    assert_eq!(goim.domain, "conn.example.org");
    assert_eq!(goim.tcp_port, Auto::Number(3101));
    assert_eq!(goim.ws_port, Auto::Number(0));
    assert_eq!(goim.wss_port, Auto::AUTO);
    assert_eq!(goim.nodes.len(), 3);
    assert_eq!(goim.backoff_base_delay, goim.backoff_max_delay);
    assert_eq!((goim.backoff_factor, goim.backoff_jitter), (2.0, 0.5));
}

#[test]
fn what_is_out_of_bounds_is_refused_with_its_line() {
    for (line, complaint) in [
        ("enabled = 1", "f.toml:2: invalid type"),
        (
            "default_operation = 17",
            "f.toml:2: goim.default_operation is 17",
        ),
        (
            "default_operation = 4",
            "f.toml:2: goim.default_operation is 4",
        ),
        (
            "default_operation = -1000",
            "f.toml:2: goim.default_operation is -1000",
        ),
        ("default_operation = 2147483648", "f.toml:2: "),
        (
            "key_connections_max = 0",
            "f.toml:2: goim.key_connections_max is 0",
        ),
        ("key_policy = 'closeoldest'", "f.toml:2: unknown variant"),
        ("heartbeat = '0s'", "f.toml:2: goim.heartbeat is 0s"),
        (
            "heartbeat = '1500ms'",
            "f.toml:2: goim.heartbeat is 1s500ms, and clients are told whole",
        ),
        ("heartbeat_max = 101", "f.toml:2: goim.heartbeat_max is 101"),
        (
            "domain = 'two words'",
            "f.toml:2: goim.domain is not the name of a host",
        ),
        ("nodes = ['']", "f.toml:2: goim.nodes holds \"\""),
        (
            "tcp_port = 65536",
            "f.toml:2: expected a whole number or \"auto\"",
        ),
        (
            "wss_port = 'none'",
            "f.toml:2: expected a whole number or \"auto\"",
        ),
        (
            "backoff_base_delay = '6m'",
            "f.toml:2: goim.backoff_base_delay is 6m, and must not be longer",
        ),
        (
            "backoff_max_delay = '2d'",
            "f.toml:2: goim.backoff_max_delay is 2d",
        ),
        (
            "backoff_factor = 0.5",
            "f.toml:2: goim.backoff_factor is 0.5",
        ),
        (
            "backoff_factor = nan",
            "f.toml:2: goim.backoff_factor is NaN",
        ),
        (
            "backoff_jitter = inf",
            "f.toml:2: goim.backoff_jitter is inf",
        ),
        ("http_api_with_key = false", "f.toml:2: unknown field"),
    ] {
        let told = read(&format!("[goim]\n{line}\n")).expect_err("it should be refused");
        assert!(told.contains(complaint), "{line}: {told}");
    }
    let long = format!("[goim]\ndomain = '{}'\n", "x".repeat(254));
    assert!(read(&long).is_err());
    let nodes = vec!["'a'"; 33].join(",");
    let told = read(&format!("[goim]\nnodes = [{nodes}]\n")).expect_err("too many");
    assert!(
        told.contains("f.toml:2: goim.nodes has 33 entries, and may have 32"),
        "{told}"
    );
}
