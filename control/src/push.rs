//! `fanfare push`: one publication through the control API.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::cli::{Common, PushArgs, reachable};
use crate::config::{self, Settings};
use crate::exit::Failure;
use crate::http_client::{self, Response};
use crate::secrets;
use crate::serve::configured_api_keys;

#[derive(Serialize)]
struct Body<'a> {
    channel: &'a str,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
}

#[derive(Deserialize)]
struct Published {
    offset: u64,
    epoch: String,
    members: Members,
    duplicate: bool,
}

#[derive(Deserialize)]
struct Members {
    total: u64,
    /// By dialect, those that the server knows.
    #[serde(flatten)]
    dialects: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Result(Box<RawValue>),
    Error { code: u16, message: String },
}

/// Pushes, and says where the message stands and whom it reached.
pub(crate) fn run(common: &Common, args: &PushArgs) -> Result<(), Failure> {
    let (url, key) = target(common, args)?;
    let data = json_of(&data(args)?)?;
    let body = serde_json::to_vec(&Body {
        channel: &args.room,
        data: &data,
        idempotency_key: args.idempotency_key.as_deref(),
    })
    .map_err(Failure::internal)?;
    let answer = http_client::post(&url, "/api/publish", &[("X-API-Key", &key)], &body)
        .map_err(Failure::runtime)?;
    let result = result(&answer)?;
    let line = match args.json {
        true => result.get().to_owned(),
        false => describe(
            &args.room,
            &serde_json::from_str(result.get()).map_err(Failure::internal)?,
        ),
    };
    writeln!(std::io::stdout(), "{line}").or_else(|error| Failure::of_output(&error))
}

/// Where to push and with which key; the configuration is read only for what the command line leaves open.
fn target(common: &Common, args: &PushArgs) -> Result<(String, String), Failure> {
    if let (Some(url), Some(key)) = (&args.api, &args.api_key) {
        return Ok((url.clone(), header_value(key)?));
    }
    let settings = config::from_command_line(common)?.settings;
    let url = args
        .api
        .clone()
        .unwrap_or_else(|| format!("http://{}", reachable(settings.api.address)));
    let key = match &args.api_key {
        Some(key) => key.clone(),
        None => api_key(&settings)?,
    };
    Ok((url, header_value(&key)?))
}

fn api_key(settings: &Settings) -> Result<String, Failure> {
    if let Some(keys) = configured_api_keys(settings)?
        && let Some(key) = keys.first()
    {
        return Ok(key.reveal().to_owned());
    }
    Ok(secrets::read(&settings.data_dir)?
        .api_key
        .reveal()
        .to_owned())
}

fn header_value(key: &str) -> Result<String, Failure> {
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::usage(
            "the API key has characters that no header can carry",
        ));
    }
    Ok(key.to_owned())
}

fn data(args: &PushArgs) -> Result<String, Failure> {
    if args.data != "-" {
        return Ok(args.data.clone());
    }
    let mut data = String::new();
    let read = std::io::stdin().read_to_string(&mut data);
    read.map_err(|error| Failure::runtime(format!("cannot read standard input: {error}")))?;
    Ok(data.trim_end_matches('\n').to_owned())
}

/// The data itself if it is JSON, else as a JSON string.
fn json_of(data: &str) -> Result<Box<RawValue>, Failure> {
    serde_json::from_str(data)
        .or_else(|_| serde_json::value::to_raw_value(data))
        .map_err(|error| Failure::internal(format!("cannot write the data as JSON: {error}")))
}

fn result(response: &Response) -> Result<Box<RawValue>, Failure> {
    let status = response.status;
    match serde_json::from_slice(&response.body) {
        Ok(Answer::Result(result)) => Ok(result),
        Ok(Answer::Error { message, .. }) if status == 401 => Err(Failure::permission(format!(
            "{message}. Is this the data directory of the server that runs?"
        ))),
        Ok(Answer::Error { code, message }) => Err(Failure::runtime(format!(
            "the server refused: {message} ({code})"
        ))),
        Err(_) => Err(Failure::runtime(format!(
            "the server answered {status}, and not as the control API does"
        ))),
    }
}

fn describe(room: &str, published: &Published) -> String {
    let Published {
        offset,
        epoch,
        members,
        duplicate,
    } = published;
    let repeat = if *duplicate {
        " (a repeat: nothing was pushed again)"
    } else {
        ""
    };
    let kinds: Vec<String> = members
        .dialects
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{count} {}", name.replace('_', " ")))
        .collect();
    let kinds = if kinds.is_empty() {
        String::new()
    } else {
        format!(": {}", kinds.join(", "))
    };
    let noun = if members.total == 1 {
        "member"
    } else {
        "members"
    };
    format!(
        "{room} at {epoch}:{offset}, sent to {} {noun}{kinds}{repeat}",
        members.total
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_json_becomes_a_json_string() {
        let of = |data: &str| json_of(data).expect("JSON").get().to_owned();
        assert_eq!(of(r#"{"a": 1.0}"#), r#"{"a": 1.0}"#);
        assert_eq!(of("42"), "42");
        assert_eq!(of("hello \"you\""), r#""hello \"you\"""#);
        assert_eq!(of(""), r#""""#);
    }

    #[test]
    fn an_answer_is_told_in_a_line() {
        let published =
            |json: &str| describe("demo", &serde_json::from_str(json).expect("an answer"));
        let json = r#"{"offset":7,"epoch":"ab","duplicate":false,
            "members":{"total":6,"native":1,"native_websocket":0,"centrifuge_json":2,"goim_v1":3}}"#;
        assert_eq!(
            published(json),
            "demo at ab:7, sent to 6 members: 2 centrifuge json, 3 goim v1, 1 native"
        );
        let json = r#"{"offset":7,"epoch":"ab","duplicate":true,
            "members":{"total":0,"centrifuge_json":0}}"#;
        assert_eq!(
            published(json),
            "demo at ab:7, sent to 0 members (a repeat: nothing was pushed again)"
        );
    }

    #[test]
    fn an_error_says_what_the_server_said() {
        let refused = |status, body: &str| {
            let body = body.as_bytes().to_vec();
            format!(
                "{:?}",
                result(&Response { status, body }).expect_err("an error")
            )
        };
        let said = refused(404, r#"{"error":{"code":102,"message":"unknown channel"}}"#);
        assert!(
            said.contains("unknown channel (102)") && said.contains("Runtime"),
            "{said}"
        );
        assert!(
            refused(401, r#"{"error":{"code":101,"message":"unauthorized"}}"#)
                .contains("Permission")
        );
        assert!(refused(200, "<html>").contains("not as the control API does"));
    }
}
