//! Results as they are sent.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_engine::api::{
    History, Payload, PresenceEntry, PresenceStats, Published, Publisher, RoomInfo,
    StoredPublication,
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::errors::Refusal;

/// What became of a publication.
#[derive(Debug, Serialize)]
pub(super) struct PublishAnswer {
    offset: u64,
    epoch: Epoch,
    members: MembersAnswer,
    duplicate: bool,
}

#[derive(Debug, Serialize)]
struct MembersAnswer {
    total: u32,
    centrifuge_json: u32,
    centrifuge_protobuf: u32,
    unidirectional: u32,
    long_poll: u32,
    native: u32,
    native_websocket: u32,
    goim: u32,
    goim_v1: u32,
}

impl From<Published> for PublishAnswer {
    fn from(published: Published) -> Self {
        let reached = published.reached;
        Self {
            offset: published.position.offset,
            epoch: Epoch(published.position.epoch),
            members: MembersAnswer {
                total: reached.total(),
                centrifuge_json: reached.centrifuge_json,
                centrifuge_protobuf: reached.centrifuge_protobuf,
                unidirectional: reached.unidirectional,
                long_poll: reached.long_poll,
                native: reached.native,
                native_websocket: reached.native_websocket,
                goim: reached.goim,
                goim_v1: reached.goim_v1,
            },
            duplicate: published.is_duplicate,
        }
    }
}

/// How many connections were addressed; 0 when there is none.
#[derive(Debug, Serialize)]
pub(super) struct ConnectionsAnswer {
    pub(super) connections: u32,
}

/// A result without content.
#[derive(Debug, Serialize)]
pub(super) struct EmptyAnswer {}

/// Who is in a room, by client.
#[derive(Debug, Serialize)]
pub(super) struct PresenceAnswer {
    presence: BTreeMap<String, ClientAnswer>,
}

#[derive(Debug, Serialize)]
struct ClientAnswer {
    client: Box<str>,
    user: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conn_info: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chan_info: Option<Box<RawValue>>,
}

impl From<Vec<PresenceEntry>> for PresenceAnswer {
    fn from(entries: Vec<PresenceEntry>) -> Self {
        let named = |entry: PresenceEntry| (entry.client.to_string(), ClientAnswer::from(entry));
        Self {
            presence: entries.into_iter().map(named).collect(),
        }
    }
}

impl From<PresenceEntry> for ClientAnswer {
    fn from(entry: PresenceEntry) -> Self {
        Self {
            client: entry.client.to_string().into(),
            user: entry.user,
            conn_info: entry.connection_info.and_then(raw),
            chan_info: entry.channel_info.and_then(raw),
        }
    }
}

impl From<Publisher> for ClientAnswer {
    fn from(publisher: Publisher) -> Self {
        Self {
            client: publisher.client,
            user: publisher.user,
            conn_info: publisher.connection_info.and_then(raw),
            chan_info: None,
        }
    }
}

/// How many are in a room.
#[derive(Debug, Serialize)]
pub(super) struct PresenceStatsAnswer {
    num_clients: u32,
    num_users: u32,
}

impl From<PresenceStats> for PresenceStatsAnswer {
    fn from(stats: PresenceStats) -> Self {
        Self {
            num_clients: stats.clients,
            num_users: stats.users,
        }
    }
}

/// A part of a room's history and where the room is.
#[derive(Debug, Serialize)]
pub(super) struct HistoryAnswer {
    publications: Vec<PublicationAnswer>,
    epoch: Epoch,
    offset: u64,
}

#[derive(Debug, Serialize)]
struct PublicationAnswer {
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b64data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<ClientAnswer>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<Box<str>, Box<str>>,
}

impl HistoryAnswer {
    /// As many publications as fit into so many bytes; `None` when there are some and none fits.
    pub(super) fn within(history: History, bytes_max: usize) -> Option<Self> {
        let is_empty = history.publications.is_empty();
        let mut left = bytes_max.saturating_sub(HISTORY_BYTES);
        let fitting = history.publications.into_iter().map_while(|stored| {
            left = left.checked_sub(bytes_at_most(&stored))?;
            Some(PublicationAnswer::from(stored))
        });
        let publications: Vec<PublicationAnswer> = fitting.collect();
        (is_empty || !publications.is_empty()).then_some(Self {
            publications,
            epoch: Epoch(history.position.epoch),
            offset: history.position.offset,
        })
    }
}

/// What an answer has around its publications, and each of them around its payload: names of fields, numbers.
const HISTORY_BYTES: usize = 128;
const PUBLICATION_BYTES: usize = 192;

/// Bytes that a publication takes in an answer, and rather too many.
fn bytes_at_most(stored: &StoredPublication) -> usize {
    // A character may become six when it is escaped.
    let text = |text: &str| 6 * text.len() + 6;
    let info = |info: &str| info.len();
    let publisher = stored.publisher.as_ref().map_or(0, |publisher| {
        text(&publisher.client)
            + text(&publisher.user)
            + publisher.connection_info.as_deref().map_or(0, info)
    });
    let tags: usize = stored
        .tags
        .iter()
        .map(|(key, value)| text(key) + text(value))
        .sum();
    // Base64 is longer by a third.
    PUBLICATION_BYTES + stored.payload.bytes.len() / 3 * 4 + 4 + publisher + tags
}

impl From<StoredPublication> for PublicationAnswer {
    fn from(stored: StoredPublication) -> Self {
        let (data, b64data) = data(&stored.payload);
        Self {
            offset: stored.offset,
            data,
            b64data,
            info: stored
                .publisher
                .map(|publisher| ClientAnswer::from(*publisher)),
            tags: stored.tags.into_iter().collect(),
        }
    }
}

/// Rooms with members.
#[derive(Debug, Serialize)]
pub(super) struct ChannelsAnswer {
    channels: BTreeMap<Box<str>, ChannelAnswer>,
}

#[derive(Debug, Serialize)]
struct ChannelAnswer {
    num_clients: u32,
}

impl From<Vec<RoomInfo>> for ChannelsAnswer {
    fn from(rooms: Vec<RoomInfo>) -> Self {
        let named = |room: RoomInfo| {
            (
                room.name,
                ChannelAnswer {
                    num_clients: room.members,
                },
            )
        };
        Self {
            channels: rooms.into_iter().map(named).collect(),
        }
    }
}

/// The nodes of the cluster: this one.
#[derive(Debug, Serialize)]
pub(super) struct InfoAnswer {
    pub(super) nodes: [NodeAnswer; 1],
}

#[derive(Debug, Serialize)]
pub(super) struct NodeAnswer {
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) version: &'static str,
    pub(super) num_clients: u64,
    pub(super) num_users: u64,
    pub(super) num_channels: u64,
    pub(super) num_subs: u64,
    /// Seconds.
    pub(super) uptime: u64,
    pub(super) shards: usize,
}

/// One outcome of many, in a broadcast.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome<T> {
    Result(T),
    Error(Refusal),
}

impl<T> From<Result<T, Refusal>> for Outcome<T> {
    fn from(result: Result<T, Refusal>) -> Self {
        match result {
            Ok(answer) => Self::Result(answer),
            Err(refusal) => Self::Error(refusal),
        }
    }
}

/// The outcomes of a broadcast, in the order of its rooms.
#[derive(Debug, Serialize)]
pub(super) struct BroadcastAnswer {
    pub(super) responses: Vec<Outcome<PublishAnswer>>,
}

/// An epoch, in decimal as clients know it, and a string, for numbers of JSON end at 2^53.
#[derive(Debug, Clone, Copy)]
struct Epoch(u64);

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

fn raw(json: Box<str>) -> Option<Box<RawValue>> {
    RawValue::from_string(json.into_string()).ok()
}

/// `data` as it was sent when it is JSON, else `b64data`.
fn data(payload: &Payload) -> (Option<Box<RawValue>>, Option<String>) {
    let json = payload
        .is_json
        .then(|| std::str::from_utf8(&payload.bytes).ok())
        .flatten();
    match json.and_then(|text| raw(text.into())) {
        Some(json) => (Some(json), None),
        None => (None, Some(STANDARD.encode(&payload.bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use fanfare_engine::api::ClientId;
    use fanfare_engine::api::{Position, Reached};

    #[test]
    fn a_publication_says_where_it_stands_and_whom_it_reached() {
        let published = Published {
            position: Position {
                epoch: 0xab,
                offset: 7,
            },
            reached: Reached {
                centrifuge_json: 2,
                centrifuge_protobuf: 4,
                unidirectional: 5,
                long_poll: 8,
                native: 1,
                native_websocket: 3,
                goim: 6,
                goim_v1: 7,
            },
            is_duplicate: false,
        };
        let json = serde_json::to_string(&PublishAnswer::from(published)).expect("JSON");
        assert_eq!(
            json,
            r#"{"offset":7,"epoch":"171","members":{"total":36,"centrifuge_json":2,"centrifuge_protobuf":4,"unidirectional":5,"long_poll":8,"native":1,"native_websocket":3,"goim":6,"goim_v1":7},"duplicate":false}"#
        );
    }

    #[test]
    fn history_carries_json_verbatim_and_bytes_as_base64() {
        let stored = |offset, bytes: &'static [u8], is_json| StoredPublication {
            offset,
            payload: Payload {
                bytes: Bytes::from_static(bytes),
                is_json,
            },
            json: None,
            publisher: None,
            tags: vec![("k".into(), "v".into())],
        };
        let history = History {
            position: Position {
                epoch: 1,
                offset: 2,
            },
            publications: vec![stored(1, b"{\"a\":1.0}", true), stored(2, b"\0\xff", false)],
        };
        let json =
            serde_json::to_string(&HistoryAnswer::within(history.clone(), 4_096)).expect("JSON");
        assert_eq!(
            json,
            r#"{"publications":[{"offset":1,"data":{"a":1.0},"tags":{"k":"v"}},{"offset":2,"b64data":"AP8=","tags":{"k":"v"}}],"epoch":"1","offset":2}"#
        );
        let cut = |bytes_max| {
            HistoryAnswer::within(history.clone(), bytes_max)
                .map(|answer| answer.publications.len())
        };
        assert_eq!((cut(500), cut(200)), (Some(1), None));
    }

    #[test]
    fn presence_is_keyed_by_client() {
        let entry = PresenceEntry {
            client: ClientId(10),
            user: "anna".into(),
            connection_info: Some(r#"{"n":1}"#.into()),
            channel_info: None,
        };
        let json = serde_json::to_string(&PresenceAnswer::from(vec![entry])).expect("JSON");
        let id = "0000000000000000000000000000000a";
        assert_eq!(
            json,
            format!(
                r#"{{"presence":{{"{id}":{{"client":"{id}","user":"anna","conn_info":{{"n":1}}}}}}}}"#
            )
        );
    }
}
