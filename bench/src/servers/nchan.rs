//! nchan, the publish/subscribe module of nginx.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::pipeline::{Protocol, publisher};
use super::process::{Process, free_address, write_file};
use super::programs::{ask, in_path};
use super::{Contestant, Missing, PublishError, Running, Spec, StartError};
use crate::http;
use crate::swarm::Language;

const NAME: &str = "nchan";

/// Where distributions put modules of nginx.
const MODULES: [&str; 3] = [
    "/usr/lib/nginx/modules",
    "/usr/lib64/nginx/modules",
    "/etc/nginx/modules",
];

/// Messages that a channel keeps for members that have not taken them yet, and for how long. The defaults are 10 and an
/// hour: with 10 a member that is behind loses messages, and after an hour's the memory is full.
const MESSAGES_MAX: u64 = 1_000;
const MESSAGE_TIMEOUT: &str = "10s";

/// Bounds of the memory for messages and channels, in mebibytes. It takes no more than is used.
const MEMORY_MIB: (u64, u64) = (128, 1_024);

/// Debian's package of the module.
const PACKAGE: &str = "libnginx-mod-nchan";

/// The module's file.
const MODULE: &str = "ngx_nchan_module.so";

#[derive(Debug)]
pub(super) struct Nchan;

impl Contestant for Nchan {
    fn name(&self) -> &str {
        NAME
    }

    fn find(&self) -> Result<String, Missing> {
        let (nginx, _) = parts()?;
        let nginx = ask(&nginx, &["-v"]).ok_or_else(missing)?;
        let nginx = nginx.trim_start_matches("nginx version: ");
        // The module tells its version to nobody, but the package does.
        let module = in_path("dpkg-query")
            .and_then(|query| ask(&query, &["--showformat=${Version}", "--show", PACKAGE]))
            .filter(|version| version.starts_with(|first: char| first.is_ascii_digit()));
        Ok(match module {
            Some(version) => format!("{version} in {nginx}"),
            None => nginx.to_owned(),
        })
    }

    fn start(&self, spec: &Spec) -> Result<Running, StartError> {
        let (nginx, module) = parts()?;
        let clients = free_address(NAME)?;
        let text = configuration(spec, &module, clients);
        let file = write_file(NAME, spec, "nginx.conf", &text)?;
        let prefix = spec.directory.join("");
        let arguments = [
            OsStr::new("-p"),
            prefix.as_os_str(),
            OsStr::new("-c"),
            file.as_os_str(),
            // Before there is a configuration, nginx would log to where it was built to.
            OsStr::new("-e"),
            OsStr::new("stderr"),
        ];
        let mut process = Process::start(NAME, &nginx, &arguments, spec)?;
        process.wait_for_listener(clients)?;
        let language = Language::WebSocket { prefix: "/sub/" };
        Ok(Running::of(process, clients, language, move || {
            publisher(clients, Http)
        }))
    }
}

/// nginx and the module.
fn parts() -> Result<(PathBuf, PathBuf), Missing> {
    let nginx = in_path("nginx").ok_or_else(missing)?;
    let module = MODULES
        .map(|folder| Path::new(folder).join(MODULE))
        .into_iter()
        .find(|file| file.is_file())
        .ok_or_else(missing)?;
    Ok((nginx, module))
}

fn missing() -> Missing {
    Missing::debian("nginx with nchan", &format!("nginx {PACKAGE}"))
}

fn configuration(spec: &Spec, module: &Path, clients: SocketAddr) -> String {
    // A message takes some 400 bytes besides its payload.
    let message_bytes = u64::from(spec.payload_bytes) + 512;
    let memory = (u64::from(spec.rooms) * MESSAGES_MAX * message_bytes) >> 20;
    let memory = memory.clamp(MEMORY_MIB.0, MEMORY_MIB.1);
    let body_bytes = spec.payload_bytes.max(16 << 10);
    format!(
        r#"daemon off;
# Nothing but ours runs here, and the folder is ours alone.
user root;
# One thread per core: a worker is one, and more would only take turns.
worker_processes {workers};
worker_rlimit_nofile {files};
load_module {module};
pid nginx.pid;
error_log stderr warn;
events {{
    use epoll;
    worker_connections {files};
    # A crowd connects at once.
    multi_accept on;
}}
http {{
    # A line for every request would be measured, too.
    access_log off;
    tcp_nodelay on;
    # The publisher keeps its connection.
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    # A publication stays in memory, in one piece.
    client_body_buffer_size {body_bytes};
    client_body_in_single_buffer on;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    nchan_shared_memory_size {memory}M;
    server {{
        # The default of 511 is less than a crowd that connects.
        listen {clients} backlog=4096;
        location ~ ^/pub/(.+)$ {{
            nchan_publisher http;
            nchan_channel_id $1;
            nchan_message_buffer_length {MESSAGES_MAX};
            nchan_message_timeout {MESSAGE_TIMEOUT};
        }}
        location ~ ^/sub/(.+)$ {{
            nchan_subscriber websocket;
            nchan_channel_id $1;
            nchan_message_buffer_length {MESSAGES_MAX};
            nchan_message_timeout {MESSAGE_TIMEOUT};
            # What was published before is not asked for.
            nchan_subscriber_first_message newest;
        }}
    }}
}}
"#,
        workers = spec.threads(),
        files = spec.files(),
        module = module.display(),
    )
}

/// Requests on a connection that is kept alive. nginx answers pipelined ones in their order.
struct Http;

impl Protocol for Http {
    const CHUNK: usize = 64;
    // Of some 300 bytes each.
    const UNANSWERED_MAX: u64 = 64;

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        room: &str,
        payloads: &[Vec<u8>],
    ) -> Result<u64, PublishError> {
        let path = format!("/pub/{room}");
        for payload in payloads {
            http::write_post(out, &path, "", payload);
        }
        Ok(payloads.len() as u64)
    }

    fn read(
        &mut self,
        bytes: &[u8],
        _: &mut Vec<u8>,
    ) -> Result<Option<(u64, usize)>, PublishError> {
        Ok(http::answer(bytes)?.map(|answer| (1, answer.body.end)))
    }
}
