//! A delta makes its target again, is shorter than it, and is text if the target is.

use fanfare_wire::fossil::{self, DOCUMENT_BYTES_MAX, DeltaError, Scratch};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// The delta, if it is shorter than the target. Made behind something else in the vector, and with memory that another delta
/// has used: neither may make a difference.
fn delta(source: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut scratch = Scratch::new();
    let mut clean = Vec::new();
    let is_shorter = fossil::write_delta(&mut clean, source, target, &mut scratch);

    let mut out = b"kept".to_vec();
    for (other_source, other_target) in [(target, source), (source, target)] {
        out.truncate(4);
        let is_shorter = fossil::write_delta(&mut out, other_source, other_target, &mut scratch);
        assert!(is_shorter || out == b"kept");
    }
    assert_eq!(out[..4], *b"kept");
    assert_eq!(out[4..], clean);
    is_shorter.then_some(clean)
}

fn holds(source: &[u8], target: &[u8]) {
    let Some(delta) = delta(source, target) else {
        return;
    };
    assert!(delta.len() < target.len());
    let made = fossil::apply_delta(source, &delta, target.len());
    assert_eq!(made.as_deref(), Ok(target));
    let refused = fossil::apply_delta(source, &delta, target.len() - 1);
    assert_eq!(
        refused,
        Err(DeltaError::TargetTooBig {
            bytes: target.len(),
            bytes_max: target.len() - 1,
        })
    );
    for end in 0..delta.len() {
        assert!(fossil::apply_delta(source, &delta[..end], target.len()).is_err());
    }
}

/// For texts all of the above, and as a JSON string the delta is no longer than the target.
fn holds_for_text(source: &str, target: &str) {
    holds(source.as_bytes(), target.as_bytes());
    if let Some(delta) = delta(source.as_bytes(), target.as_bytes()) {
        let delta = String::from_utf8(delta).expect("the delta of a text is a text");
        assert!(quoted_bytes(&delta) <= quoted_bytes(target));
    }
}

fn quoted_bytes(text: &str) -> usize {
    serde_json::to_string(text)
        .expect("a text can be quoted")
        .len()
}

/// A document and what has become of it: pieces replaced, removed, put in, moved.
fn edited<T: Clone>(source: &[T], edits: &[(Index, Index, Vec<T>)]) -> Vec<T> {
    let mut target = source.to_vec();
    for (first, second, piece) in edits {
        let first = first.index(target.len() + 1);
        let second = second.index(target.len() + 1);
        let (start, end) = (first.min(second), first.max(second));
        let end = end.min(start + 12);
        let moved: Vec<_> = target.splice(start..end, piece.iter().cloned()).collect();
        if piece.len() % 2 == 1 {
            let to = second.min(target.len());
            target.splice(to..to, moved);
        }
    }
    target
}

/// Characters of one to four bytes, among them pairs that begin or end with the same bytes.
fn character() -> impl Strategy<Value = char> {
    select(vec![
        'a',
        'b',
        '"',
        '\\',
        '\n',
        '\0',
        'é',
        'è',
        'ä',
        'Ã',
        'д',
        'е',
        'ж',
        '进',
        '进',
        '迚',
        '€',
        '₭',
        '⚽',
        '⚾',
        '😀',
        '😁',
        '🙀',
        '𐀀',
        '\u{10FFFF}',
        '\u{FEFF}',
        '\u{2028}',
    ])
}

fn edits<T: std::fmt::Debug + Clone>(
    piece: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<(Index, Index, Vec<T>)>> {
    let piece = prop::collection::vec(piece, 0..12);
    prop::collection::vec((any::<Index>(), any::<Index>(), piece), 0..6)
}

fn row() -> impl Strategy<Value = serde_json::Value> {
    (0..1000_u32, 0..1000_u32, "[a-zäß进😀]{0,12}", any::<bool>()).prop_map(
        |(id, score, name, is_online)| {
            serde_json::json!({"id": id, "name": name, "score": score, "isOnline": is_online, "team": "home"})
        },
    )
}

fn document(rows: &[serde_json::Value]) -> String {
    serde_json::json!({ "type": "table", "rows": rows }).to_string()
}

proptest! {
    #[test]
    fn unlike_bytes(source: Vec<u8>, target: Vec<u8>) {
        holds(&source, &target);
    }

    #[test]
    fn edited_bytes(source in prop::collection::vec(any::<u8>(), 0..600), edits in edits(any::<u8>())) {
        holds(&source, &edited(&source, &edits));
    }

    #[test]
    fn edited_text(source in prop::collection::vec(character(), 0..300), edits in edits(character())) {
        let target: String = edited(&source, &edits).into_iter().collect();
        let source: String = source.into_iter().collect();
        holds_for_text(&source, &target);
    }

    /// A copy may begin and end inside a character wherever every character begins or ends like its neighbours.
    #[test]
    fn text_of_characters_that_share_bytes(
        source in prop::collection::vec(select(vec!['😀', '😁', '🙀']), 0..60),
        target in prop::collection::vec(select(vec!['😀', '😁', '🙀']), 0..60),
    ) {
        let [source, target] = [source, target].map(|text| text.into_iter().collect::<String>());
        holds_for_text(&source, &target);
    }

    /// The target's text is all that counts: the source may be anything, such as the same text cut inside a character.
    #[test]
    fn text_from_bytes_that_are_none(
        target in prop::collection::vec(character(), 0..100),
        cut in any::<Index>(),
    ) {
        let target: String = target.into_iter().collect();
        let source = &target.as_bytes()[cut.index(target.len() + 1)..];
        holds(source, target.as_bytes());
        let delta = delta(source, target.as_bytes());
        prop_assert!(delta.is_none_or(|delta| String::from_utf8(delta).is_ok()));
    }

    #[test]
    fn edited_json(rows in prop::collection::vec(row(), 0..20), edits in edits(row())) {
        holds_for_text(&document(&rows), &document(&edited(&rows, &edits)));
    }

    /// One field of one row: a delta of a few bytes, whatever the size of the document.
    #[test]
    fn one_field_of_json(rows in prop::collection::vec(row(), 1..40), at in any::<Index>(), score in 0..1000_u32) {
        let source = document(&rows);
        let mut rows = rows;
        let at = at.index(rows.len());
        rows[at]["score"] = score.into();
        let target = document(&rows);
        holds_for_text(&source, &target);
        let delta = delta(source.as_bytes(), target.as_bytes()).expect("these are alike");
        prop_assert!(delta.len() <= 32, "{} bytes", delta.len());
    }

    #[test]
    fn repetitive_text(unit in prop::collection::vec(character(), 1..6), times: [u8; 3], inserted in character()) {
        let unit: String = unit.into_iter().collect();
        let [source, before, after] = times.map(|times| unit.repeat(times.into()));
        holds_for_text(&source, &format!("{before}{inserted}{after}"));
    }

    #[test]
    fn equal_documents(document in prop::collection::vec(any::<u8>(), 20..600)) {
        holds(&document, &document);
        let delta = delta(&document, &document).expect("a single copy");
        prop_assert!(delta.len() <= 15, "{} bytes", delta.len());
    }
}

#[test]
fn nothing_is_made_where_nothing_is_saved() {
    assert_eq!(delta(b"", b""), None);
    assert_eq!(delta(b"{}", b""), None);
    assert_eq!(delta(b"", b"{\"goal\":1}"), None);
    assert_eq!(delta(b"{}", b"{}"), None);
}

#[test]
fn documents_up_to_the_limit_have_deltas() {
    let whole = vec![b'a'; DOCUMENT_BYTES_MAX + 1];
    let longest = &whole[1..];
    let delta_of_longest = delta(longest, longest).expect("a single copy");
    let made = fossil::apply_delta(longest, &delta_of_longest, DOCUMENT_BYTES_MAX);
    assert_eq!(made.as_deref(), Ok(longest));
    assert_eq!(delta(&whole, longest), None);
    assert_eq!(delta(longest, &whole), None);
}
