//! The bounded history of a room, in memory at its home.

use std::collections::VecDeque;

use crate::api::{ApiError, Position, StoredPublication};
use crate::config::RoomOptions;

/// What a stored publication is counted as beside its payload.
const OVERHEAD_BYTES: u64 = 128;

#[derive(Debug)]
struct Kept {
    at_ms: u64,
    publication: StoredPublication,
}

/// The newest publications of a room, at most so many, so large and so old.
#[derive(Debug, Default)]
pub(crate) struct History {
    kept: VecDeque<Kept>,
    bytes: u64,
}

impl History {
    /// Keeps a publication and lets go of what is now too much.
    pub(crate) fn push(
        &mut self,
        publication: StoredPublication,
        now_ms: u64,
        options: &RoomOptions,
    ) {
        self.bytes += weight(&publication);
        self.kept.push_back(Kept {
            at_ms: now_ms,
            publication,
        });
        while self.kept.len() > options.history_size as usize
            || self.bytes > options.history_bytes_max
        {
            self.pop();
        }
        self.expire(now_ms, options);
    }

    /// Lets go of what is too old.
    pub(crate) fn expire(&mut self, now_ms: u64, options: &RoomOptions) {
        let ttl_ms = u64::try_from(options.history_ttl.as_millis()).unwrap_or(u64::MAX);
        while self
            .kept
            .front()
            .is_some_and(|oldest| now_ms.saturating_sub(oldest.at_ms) >= ttl_ms)
        {
            self.pop();
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Everything after a position: whole, or nothing because some of it has gone.
    pub(crate) fn recover(&self, since: Position, top: Position) -> Option<Vec<StoredPublication>> {
        if since.epoch != top.epoch || since.offset > top.offset {
            return None;
        }
        let missing = usize::try_from(top.offset - since.offset).ok()?;
        if missing > self.kept.len() {
            return None;
        }
        // Kept offsets need not be dense (`skip_history`), so the first one kept must follow directly.
        let missed = self.kept.range(self.kept.len() - missing..);
        let dense = missed
            .clone()
            .zip(since.offset + 1..)
            .all(|(kept, offset)| kept.publication.offset == offset);
        dense.then(|| missed.map(|kept| kept.publication.clone()).collect())
    }

    /// The newest publication, unless whoever asks has it. `None`: it has gone, or there has been none.
    pub(crate) fn newest(&self, since: Position, top: Position) -> Option<Vec<StoredPublication>> {
        let has_it = since.offset > 0 && since == top;
        match self.kept.back() {
            _ if has_it => Some(Vec::new()),
            Some(newest) if newest.publication.offset == top.offset => {
                Some(vec![newest.publication.clone()])
            }
            _ => None,
        }
    }

    /// A part of what is kept, as [`HistoryQuery`](crate::api::HistoryQuery) asks for it.
    pub(crate) fn read(
        &self,
        limit: Option<u32>,
        since: Option<Position>,
        reverse: bool,
        top: Position,
    ) -> Result<Vec<StoredPublication>, ApiError> {
        if since.is_some_and(|since| since.epoch != 0 && since.epoch != top.epoch) {
            return Err(ApiError::UnrecoverablePosition);
        }
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        let publications = self.kept.iter().map(|kept| &kept.publication);
        Ok(if reverse {
            let before = since.map_or(u64::MAX, |since| since.offset);
            publications
                .rev()
                .filter(|p| p.offset < before)
                .take(limit)
                .cloned()
                .collect()
        } else {
            let after = since.map_or(0, |since| since.offset);
            publications
                .filter(|p| p.offset > after)
                .take(limit)
                .cloned()
                .collect()
        })
    }

    fn pop(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.bytes -= weight(&oldest.publication);
        }
    }
}

fn weight(publication: &StoredPublication) -> u64 {
    let tags: usize = publication
        .tags
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    let publisher = publication.publisher.as_deref().map_or(0, |it| {
        it.client.len()
            + it.user.len()
            + it.connection_info.as_ref().map_or(0, |info| info.len())
            + it.channel_info.as_ref().map_or(0, |info| info.len())
    });
    let json = publication.json.as_ref().map_or(0, bytes::Bytes::len);
    (publication.payload.bytes.len() + json + tags + publisher) as u64 + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Payload;
    use std::time::Duration;

    const TOP: Position = Position {
        epoch: 9,
        offset: 5,
    };

    fn publication(offset: u64) -> StoredPublication {
        let payload = Payload {
            bytes: bytes::Bytes::from(vec![0; 100]),
            is_json: false,
        };
        StoredPublication {
            offset,
            payload,
            json: None,
            publisher: None,
            tags: Vec::new(),
        }
    }

    fn filled(options: &RoomOptions) -> History {
        let mut history = History::default();
        for offset in 1..=5 {
            history.push(publication(offset), offset * 1000, options);
        }
        history
    }

    fn options(size: u32) -> RoomOptions {
        RoomOptions {
            history_size: size,
            history_ttl: Duration::from_secs(60),
            ..RoomOptions::default()
        }
    }

    fn offsets(publications: &[StoredPublication]) -> Vec<u64> {
        publications.iter().map(|p| p.offset).collect()
    }

    #[test]
    fn recovery_is_whole_or_refused() {
        let history = filled(&options(3));
        let since = |epoch, offset| {
            history
                .recover(Position { epoch, offset }, TOP)
                .map(|found| offsets(&found))
        };
        assert_eq!(since(9, 5), Some(vec![]));
        assert_eq!(since(9, 2), Some(vec![3, 4, 5]));
        assert_eq!(since(9, 1), None, "2 has gone");
        assert_eq!(since(9, 6), None, "from the future");
        assert_eq!(since(8, 4), None, "another numbering");
    }

    #[test]
    fn a_publication_that_was_not_stored_is_a_hole() {
        let options = options(10);
        let mut history = History::default();
        history.push(publication(1), 0, &options);
        history.push(publication(3), 0, &options);
        let top = Position {
            epoch: 1,
            offset: 3,
        };
        assert!(
            history
                .recover(
                    Position {
                        epoch: 1,
                        offset: 1
                    },
                    top
                )
                .is_none()
        );
        assert_eq!(
            history
                .recover(
                    Position {
                        epoch: 1,
                        offset: 2
                    },
                    top
                )
                .map(|p| offsets(&p)),
            Some(vec![3])
        );
    }

    #[test]
    fn size_bytes_and_age_are_all_enforced() {
        assert_eq!(filled(&options(3)).kept.len(), 3);
        let by_bytes = RoomOptions {
            history_bytes_max: 2 * (100 + OVERHEAD_BYTES),
            ..options(10)
        };
        assert_eq!(filled(&by_bytes).kept.len(), 2);
        let by_age = RoomOptions {
            history_ttl: Duration::from_secs(2),
            ..options(10)
        };
        let mut history = filled(&by_age);
        assert_eq!(history.kept.len(), 2, "4 s and 5 s, seen at 5 s");
        history.expire(7_000, &by_age);
        assert!(history.is_empty());
        assert_eq!(history.bytes(), 0);
    }

    #[test]
    fn reads_both_ways_from_a_position() {
        let history = filled(&options(10));
        let read = |limit, since: Option<u64>, reverse| {
            let since = since.map(|offset| Position { epoch: 9, offset });
            history
                .read(limit, since, reverse, TOP)
                .map(|found| offsets(&found))
        };
        assert_eq!(read(Some(2), None, false), Ok(vec![1, 2]));
        assert_eq!(read(Some(2), Some(3), false), Ok(vec![4, 5]));
        assert_eq!(read(None, Some(3), true), Ok(vec![2, 1]));
        assert_eq!(read(Some(0), None, false), Ok(vec![]));
        let other = Some(Position {
            epoch: 1,
            offset: 0,
        });
        assert_eq!(
            history.read(None, other, false, TOP).map(|p| p.len()),
            Err(ApiError::UnrecoverablePosition)
        );
    }
}
