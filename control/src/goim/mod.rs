//! goim's HTTP API, so that the services that push through goim need another address and nothing else.
//!
//! Both of its generations: `/goim/…` of v2 (`v2`) and `/1/…` of v1 (`v1`), on the control API's listener. Paths,
//! parameters, replies and statuses are goim's; `docs/api-goim.md` describes them and names what differs.
//!
//! `http` routes and asks for the key; `query` and `go_json` read and write as Go does; `pushes` is what the handlers
//! need of the engine.

mod answer;
mod go_json;
mod http;
mod nodes;
mod pushes;
mod query;
mod v1;
mod v2;

#[cfg(test)]
mod recorder;
#[cfg(test)]
mod v1_tests;
#[cfg(test)]
mod v2_tests;

use std::net::SocketAddr;

pub(crate) use http::{Goim, router};
pub(crate) use nodes::Nodes;

use crate::config::GoimSettings;

/// The tag of a publication that goim's clients are told as its operation.
const OPERATION_TAG: &str = "op";

/// Says at the start, and loudly, what the settings leave open.
pub(crate) fn warn_of_open_doors(settings: &GoimSettings, api: SocketAddr) {
    if !settings.enabled {
        return;
    }
    if settings.http_api_without_key {
        tracing::warn!(
            %api,
            is_loopback = api.ip().is_loopback(),
            "goim.http_api_without_key is set: whoever reaches the control API can push to every goim room, user and \
             key, and to everyone. Keep api.address on loopback, and give services a key as soon as they can send one"
        );
    }
    if settings.trust_clients {
        tracing::warn!(
            "goim.trust_clients is set: clients of goim may claim to be any user, with any key and in any room, and \
             nothing is checked. Anyone who reaches the client port can read those rooms"
        );
    }
}
