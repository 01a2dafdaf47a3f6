//! What a service sends to clients: any JSON, passed on as it was written, or bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fanfare_engine::api::Payload;
use fanfare_wire::centrifuge::json;
use serde_json::value::RawValue;

use super::ApiLimits;
use super::errors::Refusal;

/// Takes the one of `data` and `b64data` that is there.
pub(super) fn payload(
    data: Option<&RawValue>,
    b64data: Option<&str>,
    limits: &ApiLimits,
) -> Result<Payload, Refusal> {
    let payload = match (data, b64data) {
        (Some(_), Some(_)) => {
            return Err(Refusal::bad_request(
                "both data and b64data are there: send one of them",
            ));
        }
        (None, None) => {
            return Err(Refusal::bad_request(
                "data is missing: send any JSON, or base64 as b64data",
            ));
        }
        (Some(data), None) => json_payload(data)?,
        (None, Some(text)) => Payload {
            bytes: STANDARD
                .decode(text)
                .map_err(|_| Refusal::bad_request("b64data is not base64"))?
                .into(),
            is_json: false,
        },
    };
    if payload.bytes.len() > limits.payload_bytes_max {
        let (len, max) = (payload.bytes.len(), limits.payload_bytes_max);
        return Err(Refusal::limit(format!(
            "data is {len} bytes, and api.payload_bytes_max allows {max}"
        )));
    }
    Ok(payload)
}

/// Line breaks between tokens become spaces, for clients are sent lines; the rest is left as it is.
///
/// Copies, for a slice of the body would keep all of it alive for as long as the message is in a history.
fn json_payload(data: &RawValue) -> Result<Payload, Refusal> {
    let bytes = data.get().as_bytes();
    let line = json::normalise(bytes).ok_or_else(|| {
        let max = json::DEPTH_MAX;
        Refusal::bad_request(format!("data is nested deeper than {max} levels"))
    })?;
    Ok(Payload {
        bytes: Bytes::copy_from_slice(&line),
        is_json: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn take(data: Option<&str>, b64data: Option<&str>) -> Result<Payload, Refusal> {
        let limits = ApiLimits::new(&Settings::default());
        let data: Option<&RawValue> = data.map(|text| serde_json::from_str(text).expect("JSON"));
        payload(data, b64data, &limits)
    }

    #[test]
    fn json_is_passed_on_as_it_was_written() {
        let text = r#"{"b": 1.00, "a" :[1e3, "\u00e9"], "a": null}"#;
        let payload = take(Some(text), None).expect("a payload");
        assert_eq!(payload.bytes, text.as_bytes());
        assert!(payload.is_json);
    }

    #[test]
    fn line_breaks_between_values_become_spaces() {
        let payload = take(Some("{\n\"a\":\r\n\"x\\ny\"}"), None).expect("a payload");
        assert_eq!(payload.bytes, "{ \"a\":  \"x\\ny\"}");
    }

    #[test]
    fn base64_is_bytes() {
        let payload = take(None, Some("AP8=")).expect("a payload");
        assert_eq!(payload.bytes, [0, 255].as_slice());
        assert!(!payload.is_json);
        assert_eq!(
            take(None, Some("!")).map_err(|refusal| refusal.code),
            Err(107)
        );
    }

    #[test]
    fn exactly_one_of_both_is_needed() {
        assert_eq!(take(None, None).map_err(|refusal| refusal.code), Err(107));
        assert_eq!(
            take(Some("1"), Some("AA==")).map_err(|refusal| refusal.code),
            Err(107)
        );
    }

    #[test]
    fn a_large_payload_is_refused() {
        let text = format!("\"{}\"", "x".repeat(65_534));
        assert!(take(Some(&text), None).is_ok());
        let text = format!("\"{}\"", "x".repeat(65_535));
        assert_eq!(
            take(Some(&text), None).map_err(|refusal| refusal.code),
            Err(106)
        );
    }

    #[test]
    fn a_ladder_is_refused_and_brackets_in_strings_are_not_one() {
        let ladder = |rungs: usize| format!("{}{}", "[".repeat(rungs), "]".repeat(rungs));
        assert!(take(Some(&ladder(128)), None).is_ok());
        assert_eq!(
            take(Some(&ladder(129)), None).map_err(|refusal| refusal.code),
            Err(107)
        );
        assert!(take(Some(&format!(r#""\"{}""#, "[".repeat(1_000))), None).is_ok());
    }
}
