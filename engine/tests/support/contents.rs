//! What to publish: contents that differ, many of them awkward to one dialect or another.

use serde_json::json;

/// A kind of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Object,
    /// An object with carriage returns between its tokens, which WebSocket does not mind and Server-Sent Events do.
    Returns,
    /// Escapes that a parser and a writer would not leave as they are, and characters that may stand for themselves.
    Escapes,
    /// A JSON text.
    JsonText,
    /// An object on several lines.
    Lines,
    /// Text that is not JSON, and looks like all that carries it.
    Text,
    /// Bytes that are no text.
    Binary,
    /// JSON that nests deeper than is passed on as JSON.
    Deep,
}

impl Kind {
    /// What clients of a JSON encoding can publish.
    pub const JSON: [Self; 4] = [Self::Object, Self::Returns, Self::Escapes, Self::JsonText];

    pub const ALL: [Self; 8] = [
        Self::Object,
        Self::Returns,
        Self::Escapes,
        Self::JsonText,
        Self::Lines,
        Self::Text,
        Self::Binary,
        Self::Deep,
    ];

    /// Content of this kind with this name in it, and about so many bytes more.
    pub fn content(self, name: &str, bytes: usize) -> Vec<u8> {
        let pad = "\u{e4}b".repeat(bytes / 3);
        let text = match self {
            Self::Object => json!({ "name": name, "pad": pad }).to_string(),
            Self::Returns => format!("{{\r\"name\":\r\"{name}\",\r\t\"pad\" : \"{pad}\"\r}}"),
            Self::Escapes => format!(
                r#"{{"name":"{name}","t":"\u00e4\/\"\\\ud83d\ude00\u2028 {}","n":[1e5,-0.0,1E+2,null],"pad":"{pad}"}}"#,
                "\u{1f600}\u{2028}\u{7f}"
            ),
            Self::JsonText => format!("\"{name} {pad}\""),
            Self::Lines => format!(" {{\"name\":\n\t\"{name}\",\r\n\n\"pad\":\"{pad}\" }}\n"),
            Self::Text => format!("{name}\n\ndata: {{}}\r\n0\r\n\r\n\"]}}<\\u00e4> {pad}"),
            Self::Deep => {
                let (open, close) = ("[".repeat(200), "]".repeat(200));
                format!("{open}\"{name} {pad}\"{close}")
            }
            Self::Binary => {
                let mut random = fastrand::Rng::with_seed(bytes as u64);
                let mut content = b"\xff\0\n".to_vec();
                content.extend(name.bytes());
                content.extend(std::iter::repeat_with(|| random.u8(..)).take(bytes));
                return content;
            }
        };
        text.into_bytes()
    }
}

/// The content with this number of a publisher, which no other has: most are short, some longer than a segment or what
/// the kernel holds unsent.
pub fn content(publisher: usize, number: usize, kinds: &[Kind]) -> Vec<u8> {
    let bytes = match number {
        _ if number % 47 == 25 => 20 << 10,
        _ if number % 11 == 7 => 1 << 11,
        _ => number * 37 % 200,
    };
    let kind = kinds[number % kinds.len()];
    kind.content(&format!("{publisher}:{number}"), bytes)
}

/// The same of a service, which may also say next to nothing, more than once.
pub fn service_content(publisher: usize, number: usize) -> Vec<u8> {
    // The last is a message of protobuf: a text of 13 digits, after its tag and its length.
    const LITTLE: [&[u8]; 11] = [
        b"",
        b"7",
        b"x",
        b"\x80",
        b"\"",
        b" ",
        b"{}",
        b"null",
        b"\0",
        b"\"\"",
        b"\n\r1732356845123",
    ];
    if number % 20 == 3 {
        return LITTLE[number / 20 % LITTLE.len()].to_vec();
    }
    content(publisher, number, &Kind::ALL)
}
