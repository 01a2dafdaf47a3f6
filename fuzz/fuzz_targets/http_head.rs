//! A request head is read the same whatever follows it, a prefix of one is never taken for another, and what is accepted
//! keeps the rules that smuggling breaks. Sniffing decides once and for all. Anything is a form.

#![no_main]

use fanfare_wire::{http, sniff};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = http::parse_head(data);
    for cut in [data.len() / 4, data.len() / 2, data.len().saturating_sub(1)] {
        let prefix = http::parse_head(&data[..cut]);
        assert!(prefix == Ok(None) || prefix == whole, "cut at {cut}");
    }
    if let Ok(Some((head, length))) = &whole {
        assert!(*length <= http::HEAD_BYTES_MAX);
        let text = &data[..*length];
        assert!(text.ends_with(b"\r\n\r\n"));
        let line_feeds = text.iter().filter(|&&byte| byte == b'\n').count();
        let line_ends = text.windows(2).filter(|pair| pair == b"\r\n").count();
        assert_eq!(line_feeds, line_ends);
        assert!(!text.contains(&0));
        assert!(head.headers_named("host").count() <= 1);
        assert!(
            head.header("content-length").is_none() || head.header("transfer-encoding").is_none()
        );
        if let Ok(upgrade) = http::upgrade(head) {
            assert_eq!(upgrade.key.len(), 24);
            upgrade.protocols().for_each(drop);
        }
    }
    if let Err(error) = whole {
        assert!(matches!(error.status(), 400..=599));
    }

    if let Ok(Some(value)) = http::parameter(data, "a") {
        assert!(value.len() <= data.len());
    }

    let decided = sniff::sniff(data);
    for cut in 0..data.len().min(sniff::SNIFF_BYTES_MAX) {
        let early = sniff::sniff(&data[..cut]);
        assert!(early == Ok(None) || early == decided);
    }
});
