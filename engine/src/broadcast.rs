//! What a room's home tells the shards with members: encoded once per encoding in use.

use bytes::Bytes;
use fanfare_wire::ws;

use crate::api::{PresenceEntry, StoredPublication};
use crate::core::Core;
use crate::encoding;
use crate::encoding::{Codec, Encoding, Form, RoomTag};
use crate::home::Home;
use crate::message::{Delivery, Frame, FrameExtra};
use crate::slab::Key;

impl Core {
    /// Encodes something once per encoding in use, and sends it to the shards that have members who read it.
    pub(crate) fn broadcast(&mut self, key: Key<Home>, news: News<'_>) {
        let goim_operation = self.shared.config.goim.default_operation;
        let mut scratch = std::mem::take(&mut self.scratch);
        for at in 0.. {
            let Some(home) = self.homes.slab.get(key) else {
                break;
            };
            let Some(encoding) = home.counts().nth(at) else {
                break;
            };
            if !scratch.encode(home, at, encoding, goim_operation, news) {
                continue;
            }
            self.gauges.counters.frames_encoded.inc();
            let bytes = Bytes::copy_from_slice(&scratch.frame);
            let extra = news.extra(home, encoding, goim_operation);
            let top = home.position().offset;
            let frame = |room, bytes, extra| {
                Delivery::Frame(Frame {
                    room,
                    encoding,
                    top,
                    bytes,
                    extra,
                })
            };
            // The last one takes the bytes themselves: what only one holds is not counted.
            let mut last = None;
            for at in 0..home.shards.len() {
                let Some(member) = self.homes.slab.get(key).map(|home| &home.shards[at]) else {
                    break;
                };
                if member.counts.has(encoding)
                    && let Some((shard, room)) = last.replace((member.shard, member.local))
                {
                    self.deliver(shard, frame(room, bytes.clone(), extra.clone()));
                }
            }
            if let Some((shard, room)) = last {
                self.deliver(shard, frame(room, bytes, extra));
            }
        }
        scratch.message_codec = None;
        self.scratch = scratch;
    }
}

/// Where frames are put together.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    frame: Vec<u8>,
    /// A message that several carriers take.
    message: Vec<u8>,
    /// The codec that it is of.
    message_codec: Option<Codec>,
    pub(crate) deflater: ws::Deflater,
}

impl Scratch {
    /// Puts together the frame of the room's encoding with this number. Returns whether there is one: not everything is
    /// told in every codec.
    fn encode(
        &mut self,
        home: &Home,
        at: usize,
        encoding: Encoding,
        goim_operation: i32,
        news: News<'_>,
    ) -> bool {
        let codec = encoding.codec;
        let tag = home.tag(goim_operation);
        self.frame.clear();
        let is_shared = home
            .counts()
            .nth(at + 1)
            .is_some_and(|next| next.codec == codec && !next.is_delta);
        if self.message_codec != Some(codec) && is_shared && !encoding.is_delta {
            self.message.clear();
            news.write(&mut self.message, codec, tag, Form::Plain);
            self.message_codec = Some(codec);
        }
        if self.message_codec != Some(codec) || encoding.is_delta {
            let form = news.form(encoding);
            let mut is_told = false;
            let deflater = &mut self.deflater;
            encoding.frame_for_many(&mut self.frame, deflater, |out| {
                let before = out.len();
                news.write(out, codec, tag, form);
                is_told = out.len() > before;
            });
            return is_told;
        }
        if self.message.is_empty() {
            return false;
        }
        encoding.frame_for_many(&mut self.frame, &mut self.deflater, |out| {
            out.extend_from_slice(&self.message);
        });
        true
    }
}

/// Something that members are told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum News<'a> {
    /// And, where there is one, the difference from the publication before it.
    Publication(&'a StoredPublication, Option<&'a [u8]>),
    /// Someone has joined, or left.
    Presence(&'a PresenceEntry, bool),
}

impl<'a> News<'a> {
    fn write(self, out: &mut Vec<u8>, codec: Codec, tag: RoomTag<'_>, form: Form<'_>) {
        match self {
            Self::Publication(publication, _) => {
                encoding::write_publication(out, codec, tag, publication, form);
            }
            Self::Presence(entry, has_joined) => {
                encoding::write_presence(out, codec, tag.name, entry, has_joined);
            }
        }
    }

    const fn form(self, encoding: Encoding) -> Form<'a> {
        match self {
            Self::Publication(_, Some(delta)) if encoding.is_delta => Form::Delta(delta),
            Self::Publication(_, None) if encoding.is_delta => Form::Whole,
            _ => Form::Plain,
        }
    }

    /// What goes with the frame.
    fn extra(
        self,
        home: &Home,
        encoding: Encoding,
        goim_operation: i32,
    ) -> Option<Box<FrameExtra>> {
        let Self::Publication(publication, delta) = self else {
            return None;
        };
        let mut extra = FrameExtra::default();
        if encoding.is_delta && delta.is_some() {
            let mut whole = Vec::new();
            encoding.frame(&mut whole, |out| {
                self.write(out, encoding.codec, home.tag(goim_operation), Form::Whole);
            });
            extra.whole = Some(whole.into());
        }
        if home.options.tags_filter {
            extra.tags.clone_from(&publication.tags);
        }
        // Filters look at publications alone, and know them by this.
        (extra.whole.is_some() || home.options.tags_filter).then(|| Box::new(extra))
    }
}
