//! The body of a question, field by field as Centrifugo v6 sends it (`internal/proxyproto/proxy.proto`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_engine::backend::{
    Caller, ConnectAsk, DataEncoding, PublishAsk, RpcAsk, SendAsk, SubRefreshAsk, SubscribeAsk,
};
use fanfare_wire::centrifuge::json;
use serde::Serialize;
use serde_json::value::RawValue;

/// How questions are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// All data goes as base64, JSON too.
    pub(super) is_binary: bool,
    /// What the backend noted about a connection goes with every question but the first.
    pub(super) has_meta: bool,
}

/// All fields that any event has. Empty ones are left out, as Centrifugo does, except for `user`.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    client: &'a str,
    transport: &'a str,
    protocol: &'a str,
    encoding: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    channel: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "String::is_empty")]
    b64data: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    channels: &'a [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a RawValue>,
}

impl<'a> Request<'a> {
    pub(super) fn connect(caller: &'a Caller, ask: &'a ConnectAsk, form: Form) -> Self {
        Self {
            // Who it is is the question, and what was noted of it will be part of the answer.
            user: None,
            meta: None,
            token: &ask.token,
            name: &ask.name,
            version: &ask.version,
            channels: &ask.rooms,
            ..Self::of(caller, form)
        }
        .with(&ask.data)
    }

    pub(super) fn refresh(caller: &'a Caller, form: Form) -> Self {
        Self::of(caller, form)
    }

    pub(super) fn rpc(caller: &'a Caller, ask: &'a RpcAsk, form: Form) -> Self {
        Self {
            method: &ask.method,
            ..Self::of(caller, form)
        }
        .with(&ask.data)
    }

    /// Centrifugo's open edition has no such event; this is an rpc without a method.
    pub(super) fn send(caller: &'a Caller, ask: &'a SendAsk, form: Form) -> Self {
        Self::of(caller, form).with(&ask.data)
    }

    pub(super) fn subscribe(caller: &'a Caller, ask: &'a SubscribeAsk, form: Form) -> Self {
        Self {
            channel: &ask.room,
            token: &ask.token,
            ..Self::of(caller, form)
        }
        .with(&ask.data)
    }

    pub(super) fn publish(caller: &'a Caller, ask: &'a PublishAsk, form: Form) -> Self {
        Self {
            channel: &ask.room,
            ..Self::of(caller, form)
        }
        .with(&ask.data)
    }

    pub(super) fn sub_refresh(caller: &'a Caller, ask: &'a SubRefreshAsk, form: Form) -> Self {
        Self {
            channel: &ask.room,
            ..Self::of(caller, form)
        }
    }

    /// As JSON.
    pub(super) fn to_body(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    fn of(caller: &'a Caller, form: Form) -> Self {
        let is_binary = form.is_binary || caller.encoding == DataEncoding::Binary;
        let meta = caller.meta.as_deref().filter(|_| form.has_meta);
        Self {
            client: &caller.client,
            transport: caller.transport,
            protocol: caller.protocol,
            encoding: if is_binary { "binary" } else { "json" },
            user: Some(&caller.user),
            channel: "",
            method: "",
            token: "",
            data: None,
            b64data: String::new(),
            name: "",
            version: "",
            channels: &[],
            // Checked when it came in, so that it cannot end the object that it is put into.
            meta: meta.and_then(|meta| serde_json::from_str(meta).ok()),
        }
    }

    /// With data: as it is where it is JSON that parsers bear, else as base64.
    fn with(mut self, data: &'a [u8]) -> Self {
        if data.is_empty() {
            return self;
        }
        let is_json = self.encoding == "json" && json::normalise(data).is_some();
        self.data = is_json.then(|| serde_json::from_slice(data).ok()).flatten();
        if self.data.is_none() {
            self.encoding = "binary";
            self.b64data = STANDARD.encode(data);
        }
        self
    }
}
