//! What a newcomer reads first: where things are, and two commands that work when copied.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use crate::api_keys::ApiKeys;
use crate::cli::{program, reachable, shell_quote};
use crate::config::Settings;
use crate::exit::Failure;
use crate::serve::Generated;
use crate::tokens::{Minted, mint};

/// The room and the user of the commands.
const DEMO: &str = "demo";

/// How long the token in the banner is good for.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3_600);

/// Everything the banner tells.
#[derive(Debug)]
pub(crate) struct Banner<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) client_addresses: &'a [SocketAddr],
    pub(crate) api_address: SocketAddr,
    /// Where clients find the relay, if there is one.
    pub(crate) relay_urls: &'a [String],
    pub(crate) api_keys: &'a ApiKeys,
    /// What was not configured, if anything was not.
    pub(crate) generated: Option<&'a Generated>,
}

impl Banner<'_> {
    /// Prints it to standard output; logs go to standard error.
    pub(crate) fn print(&self) -> Result<(), Failure> {
        let is_terminal = std::io::stdout().is_terminal();
        let text = self.text(is_terminal);
        let mut out = std::io::stdout().lock();
        let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        printed.or_else(|error| Failure::of_output(&error))
    }

    fn text(&self, is_terminal: bool) -> String {
        let (bold, plain) = if is_terminal {
            ("\x1b[1m", "\x1b[0m")
        } else {
            ("", "")
        };
        let mut text = format!("\n{bold}Fanfare {}{plain}\n\n", env!("CARGO_PKG_VERSION"));
        for address in self.client_addresses {
            let address = reachable(*address);
            let _ = write!(
                text,
                "\
  clients      ws://{address}/connection/websocket   Centrifuge, JSON or protobuf
               http://{address}/connection/sse       the same; also /connection/http_stream, /poll/connect
               ws://{address}/sub                    goim
               ws://{address}/connection/native      native
               tcp://{address}                       native, goim
"
            );
        }
        for url in self.relay_urls {
            let _ = writeln!(text, "  relay        {url}");
        }
        let api = reachable(self.api_address);
        let _ = writeln!(text, "  control API  http://{api}/api/<method>");
        let _ = writeln!(
            text,
            "  monitoring   http://{api}/metrics  /live  /ready  /version"
        );
        let shown = Shown::of(self.generated, is_terminal);
        if let Some(tail) = self.tail_command(shown) {
            let push = self.push_command(api, shown);
            let _ = write!(
                text,
                "\n{bold}Join a room, in a second terminal:{plain}\n\n  {tail}\n"
            );
            let _ = write!(text, "\n{bold}Push to it, in a third:{plain}\n\n  {push}\n");
        }
        text.push('\n');
        if let Some(generated) = self.generated {
            let _ = writeln!(
                text,
                "Secrets are in {}, readable by you alone.",
                generated.file.display()
            );
        }
        let closing = match shown {
            Shown {
                api_key: true,
                token: true,
            } => {
                "The commands above show an API key and a token: use --quiet where this ends in a log."
            }
            _ => {
                "Configured secrets are shown on a terminal only: set FANFARE_TOKEN and FANFARE_API_KEY for the\n\
                 commands above, or use --quiet for none of this."
            }
        };
        let _ = writeln!(text, "{closing}\n");
        text
    }

    /// With the token and the address in it, so that it works from any directory.
    fn tail_command(&self, shown: Shown) -> Option<String> {
        let address = reachable(*self.client_addresses.first()?).to_string();
        let command = format!(
            "{} tail {DEMO} --server {}",
            program(),
            shell_quote(&address)
        );
        let rooms = [DEMO.to_owned()];
        let minted = Minted {
            user: DEMO,
            ttl: TOKEN_TTL,
            rooms: &rooms,
            may_publish: true,
        };
        if let Ok(token) = mint(self.settings, &minted) {
            return Some(match shown.token {
                true => format!("{command} --token {}", shell_quote(&token)),
                false => command,
            });
        }
        // Only the owner of a private key can make tokens then; a service's key lets in as well. It is good for
        // everything, and for ever, so it is kept from the arguments, which every user of the machine can list.
        Some(match (shown.api_key, self.api_keys.first()) {
            (true, Some(key)) => format!("FANFARE_TOKEN={} {command}", shell_quote(key.reveal())),
            _ => command,
        })
    }

    fn push_command(&self, api: SocketAddr, shown: Shown) -> String {
        let url = shell_quote(&format!("http://{api}/api/publish"));
        let header = match (shown.api_key, self.api_keys.first()) {
            (true, Some(key)) => shell_quote(&format!("X-API-Key: {}", key.reveal())),
            _ => "\"X-API-Key: $FANFARE_API_KEY\"".to_owned(),
        };
        format!(
            "curl {url} -H {header} -d '{{\"channel\": \"{DEMO}\", \"data\": {{\"text\": \"hello\"}}}}'"
        )
    }
}

/// Which secrets the banner may show: those that were made here, for a newcomer has to see them, and all of
/// them to a person. What somebody configured is not written to where it may be kept.
#[derive(Debug, Clone, Copy)]
struct Shown {
    api_key: bool,
    token: bool,
}

impl Shown {
    fn of(generated: Option<&Generated>, is_terminal: bool) -> Self {
        let is_shown = |is_generated: fn(&Generated) -> bool| {
            is_terminal || generated.is_some_and(is_generated)
        };
        let api_key = is_shown(|generated| generated.api_key);
        Self {
            api_key,
            token: is_shown(|generated| generated.token_secret),
        }
    }
}
