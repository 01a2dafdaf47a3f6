//! From what a client put into a command to what it asks.

use std::borrow::Cow;

use super::{Command, CommandError, Connect, History, Method, Publish, Subscribe};

/// All that a command may hold, as the decoder of an encoding found it: the protocol's definition has a field for every
/// method, and nothing keeps a client from setting several.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub(super) id: u32,
    pub(super) connect: Option<Box<Connect<'a>>>,
    pub(super) has_ping: bool,
    pub(super) subscribe: Option<Subscribe<'a>>,
    /// The channel; likewise below.
    pub(super) unsubscribe: Option<Cow<'a, str>>,
    pub(super) publish: Option<Publish<'a>>,
    pub(super) presence: Option<Cow<'a, str>>,
    pub(super) presence_stats: Option<Cow<'a, str>>,
    pub(super) history: Option<History<'a>>,
    pub(super) rpc: Option<Rpc<'a>>,
    /// The data.
    pub(super) send: Option<Cow<'a, [u8]>>,
    /// The token.
    pub(super) refresh: Option<Cow<'a, str>>,
    pub(super) sub_refresh: Option<SubRefresh<'a>>,
}

#[derive(Default)]
pub(super) struct Rpc<'a> {
    pub(super) method: Cow<'a, str>,
    pub(super) data: Cow<'a, [u8]>,
}

#[derive(Default)]
pub(super) struct SubRefresh<'a> {
    pub(super) channel: Cow<'a, str>,
    pub(super) token: Cow<'a, str>,
}

impl<'a> Parts<'a> {
    /// The command that these make, with the rules that hold in every encoding.
    pub(super) fn command(self) -> Result<Command<'a>, CommandError> {
        let id = self.id;
        let method = self.method()?;
        match method {
            Method::Unknown if id == 0 => Ok(Command {
                id,
                method: Method::Pong,
            }),
            Method::Send { .. } => Ok(Command { id, method }),
            _ if id == 0 => Err(CommandError::MissingId),
            _ => Ok(Command { id, method }),
        }
    }

    fn method(self) -> Result<Method<'a>, CommandError> {
        if let Some(connect) = self.connect {
            return Ok(Method::Connect(connect));
        }
        if self.has_ping {
            return Ok(Method::Ping);
        }
        if let Some(subscribe) = self.subscribe {
            require(&subscribe.channel)?;
            return Ok(Method::Subscribe(subscribe));
        }
        if let Some(channel) = self.unsubscribe {
            require(&channel)?;
            return Ok(Method::Unsubscribe { channel });
        }
        if let Some(publish) = self.publish {
            require(&publish.channel)?;
            return Ok(Method::Publish(publish));
        }
        if let Some(channel) = self.presence {
            require(&channel)?;
            return Ok(Method::Presence { channel });
        }
        if let Some(channel) = self.presence_stats {
            require(&channel)?;
            return Ok(Method::PresenceStats { channel });
        }
        if let Some(history) = self.history {
            require(&history.channel)?;
            return Ok(Method::History(history));
        }
        if let Some(Rpc { method, data }) = self.rpc {
            return Ok(Method::Rpc { method, data });
        }
        if let Some(data) = self.send {
            return Ok(Method::Send { data });
        }
        if let Some(token) = self.refresh {
            return Ok(Method::Refresh { token });
        }
        if let Some(SubRefresh { channel, token }) = self.sub_refresh {
            require(&channel)?;
            return Ok(Method::SubRefresh { channel, token });
        }
        Ok(Method::Unknown)
    }
}

fn require(channel: &str) -> Result<(), CommandError> {
    if channel.is_empty() {
        return Err(CommandError::MissingChannel);
    }
    Ok(())
}
