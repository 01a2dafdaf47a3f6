//! What clients are told of the relay, and show it.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::relay::Relay;
use super::road::Road;

/// A user whose password does not end.
pub(crate) const USER: &str = "phone";
pub(crate) const PASSWORD: &str = "a password that only these tests know";

/// What time-limited credentials are made with.
pub(crate) const SECRET: &str = "a secret that only these tests know, and nobody else";

impl Relay {
    /// What the API gives a page as `iceServers`, of which one road is left.
    pub(crate) fn ice_servers(&self, road: Road) -> Value {
        let made = self
            .server
            .api("turn_credentials", &json!({"user": "anna"}));
        let mut servers = made["ice_servers"].clone();
        assert_eq!(servers.as_array().map(Vec::len), Some(1), "{made}");
        let urls = servers[0]["urls"].as_array().expect("a list of URLs");
        let urls: Vec<String> = urls
            .iter()
            .filter_map(Value::as_str)
            .filter(|url| road.port_in(url).is_some())
            // Certificates are made out to names.
            .map(|url| url.replace("turns:127.0.0.1", "turns:localhost"))
            .collect();
        assert_eq!(urls.len(), 1, "{made}");
        servers[0]["urls"] = json!(urls);
        servers
    }

    /// The same, for somebody else's credentials.
    pub(crate) fn ice_servers_for(&self, road: Road, username: &str, credential: &str) -> Value {
        let mut servers = self.ice_servers(road);
        servers[0]["username"] = json!(username);
        servers[0]["credential"] = json!(credential);
        servers
    }

    /// The same, a moment after their credentials have ended.
    pub(crate) fn ice_servers_that_have_ended(&self, road: Road) -> Value {
        let made = json!({"user": "anna", "ttl": 1});
        let made = self.server.api("turn_credentials", &made);
        let [username, password] = ["username", "password"].map(|it| {
            let text = made[it].as_str();
            text.expect("text").to_owned()
        });
        let end = username.split(':').next().and_then(|end| end.parse().ok());
        let end = UNIX_EPOCH + Duration::from_secs(end.expect("a time"));
        // The clock of both sides counts whole seconds.
        let is_over = end + Duration::from_secs(2);
        while let Ok(left) = is_over.duration_since(SystemTime::now()) {
            thread::sleep(left);
        }
        self.ice_servers_for(road, &username, &password)
    }

    /// The port of this road.
    pub(crate) fn port(&self, road: Road) -> u16 {
        let made = self
            .server
            .api("turn_credentials", &json!({"user": "anna"}));
        let urls = made["ice_servers"][0]["urls"].as_array();
        let urls = urls.into_iter().flatten().filter_map(Value::as_str);
        let port = urls.filter_map(|url| road.port_in(url)).next();
        port.unwrap_or_else(|| panic!("no {road:?} in {made}"))
    }
}
