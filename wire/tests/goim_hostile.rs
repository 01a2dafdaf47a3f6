//! Frames, auth bodies and JSON that a hostile client makes up, each against one rule. Most were fatal to the original, or
//! made it show one client the bytes of another.

use fanfare_wire::centrifuge::codes::DisconnectCode;
use fanfare_wire::goim::{
    self, ACCEPTS_MAX, Auth, AuthError, AuthV1, BODY_BYTES_MAX, Error, Generation, HEADER_BYTES,
    JsonError, KEY_BYTES_MAX, MessageForm, OPERATIONS_MAX, Operation, ROOM_BYTES_MAX, ROOMS_MAX,
    V1_BODY_BYTES_MAX, decode, decode_message,
};

/// A header that declares what it likes, and a body.
fn frame(package_bytes: i32, header_length: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = package_bytes.to_be_bytes().to_vec();
    frame.extend_from_slice(&header_length.to_be_bytes());
    frame.extend_from_slice(&1_i16.to_be_bytes());
    frame.extend_from_slice(&Operation::CHANGE_ROOM.0.to_be_bytes());
    frame.extend_from_slice(&3_i32.to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

fn honest(body: &[u8]) -> Vec<u8> {
    let package_bytes = i32::try_from(HEADER_BYTES + body.len()).expect("a test's body is short");
    frame(package_bytes, 16, body)
}

/// Both ways in refuse it with the same error.
fn is_refused(bytes: &[u8], error: Error) {
    assert_eq!(decode(bytes, BODY_BYTES_MAX), Err(error), "{bytes:02x?}");
    assert_eq!(
        decode_message(bytes, BODY_BYTES_MAX),
        Err(error),
        "{bytes:02x?}"
    );
    assert_eq!(error.code(), DisconnectCode::BAD_REQUEST);
}

#[test]
fn a_length_below_the_header_is_refused() {
    for package_bytes in (0..16).chain([-1, -16, -17, -4112, i32::MIN + 1]) {
        for body in [&b""[..], b"live://2000"] {
            is_refused(
                &frame(package_bytes, 16, body),
                Error::TooShort(package_bytes),
            );
        }
    }
}

/// -2^31 minus the header's 16 is positive again in 32 bits: it killed the original's process, before auth.
#[test]
fn the_lowest_length_is_refused() {
    is_refused(&frame(i32::MIN, 16, b""), Error::TooShort(i32::MIN));
    is_refused(&frame(i32::MIN, i16::MIN, b""), Error::TooShort(i32::MIN));
    is_refused(&frame(i32::MIN, 16, &[0; 64]), Error::TooShort(i32::MIN));
}

#[test]
fn a_length_above_the_limit_is_refused_before_the_body_is_there() {
    for package_bytes in [4113, 4114, 65_536, i32::MAX - 16, i32::MAX] {
        let error = Error::TooLarge {
            package_bytes,
            body_bytes_max: BODY_BYTES_MAX,
        };
        is_refused(&frame(package_bytes, 16, b""), error);
        let length = &package_bytes.to_be_bytes();
        assert_eq!(
            decode(length, BODY_BYTES_MAX),
            Err(error),
            "four bytes are enough"
        );
    }
    let longest = honest(&[b'x'; 4096]);
    assert!(
        matches!(decode(&longest, BODY_BYTES_MAX), Ok(Some((frame, 4112))) if frame.body.len() == 4096)
    );
    assert!(decode_message(&longest, BODY_BYTES_MAX).is_ok());
}

#[test]
fn version_1_has_its_own_limit() {
    let longest = honest(&[b'x'; 1024]);
    assert!(matches!(
        decode(&longest, V1_BODY_BYTES_MAX),
        Ok(Some((_, 1040)))
    ));
    let longer = honest(&[b'x'; 1025]);
    let error = Error::TooLarge {
        package_bytes: 1041,
        body_bytes_max: V1_BODY_BYTES_MAX,
    };
    assert_eq!(decode(&longer, V1_BODY_BYTES_MAX), Err(error));
}

#[test]
fn the_limits_of_the_caller_have_no_edge_of_their_own() {
    let empty = honest(b"");
    assert!(matches!(decode(&empty, 0), Ok(Some((frame, 16))) if frame.body.is_empty()));
    assert_eq!(decode(&frame(i32::MAX, 16, b""), u32::MAX), Ok(None));
    assert!(decode(&honest(b"x"), 0).is_err());
}

#[test]
fn another_header_length_is_refused() {
    for header_length in [0, 1, 15, 17, 18, 4096, i16::MAX, -1, -16, i16::MIN] {
        is_refused(
            &frame(27, header_length, b"live://2000"),
            Error::HeaderLength(header_length),
        );
        let first_six = &frame(27, header_length, b"")[..6];
        assert_eq!(
            decode(first_six, BODY_BYTES_MAX),
            Err(Error::HeaderLength(header_length))
        );
    }
}

/// The original cuts the body out of its read buffer by the declared length, and with the replies to operations 12, 14 and
/// 16 sends back what others left there.
#[test]
fn a_message_shorter_than_its_frame_says_is_never_echoed() {
    for declared in [17, 28, 64, 4112] {
        let bytes = frame(declared, 16, b"");
        let error = Error::NotTheMessage {
            package_bytes: declared,
            message_bytes: 16,
        };
        assert_eq!(decode_message(&bytes, BODY_BYTES_MAX), Err(error));
        assert_eq!(decode(&bytes, BODY_BYTES_MAX), Ok(None), "a stream goes on");
        assert_eq!(error.code(), DisconnectCode::BAD_REQUEST);
    }

    // The message lies in a larger buffer, as it does in a connection: nothing behind it is looked at.
    let mut buffer = frame(64, 16, b"mine");
    let message_bytes = buffer.len();
    buffer.extend_from_slice(b" and the token of my neighbour, who was here before");
    assert_eq!(
        decode_message(&buffer[..message_bytes], BODY_BYTES_MAX),
        Err(Error::NotTheMessage {
            package_bytes: 64,
            message_bytes: 20
        })
    );
    assert_eq!(decode(&buffer[..message_bytes], BODY_BYTES_MAX), Ok(None));
}

#[test]
fn a_message_holds_one_frame() {
    let two = [honest(b"one"), honest(b"two")].concat();
    let error = Error::NotTheMessage {
        package_bytes: 19,
        message_bytes: 38,
    };
    assert_eq!(decode_message(&two, BODY_BYTES_MAX), Err(error));
    let trailing = [honest(b"one"), vec![0]].concat();
    assert!(decode_message(&trailing, BODY_BYTES_MAX).is_err());
}

#[test]
fn a_message_without_a_header_is_refused() {
    let whole = honest(b"");
    for bytes in 0..HEADER_BYTES {
        assert_eq!(
            decode_message(&whole[..bytes], BODY_BYTES_MAX),
            Err(Error::Headless(bytes))
        );
        assert_eq!(decode(&whole[..bytes], BODY_BYTES_MAX), Ok(None));
    }
}

#[test]
fn unknown_operations_versions_and_sequences_are_the_callers_to_judge() {
    let mut bytes = Vec::new();
    goim::write_frame(&mut bytes, i16::MIN, Operation(i32::MIN), i32::MIN, b"x");
    let frame = decode_message(&bytes, BODY_BYTES_MAX).expect("a frame");
    assert_eq!(
        (frame.version, frame.operation.0, frame.seq),
        (i16::MIN, i32::MIN, i32::MIN)
    );
}

#[test]
fn lists_of_operations_are_whole_or_nothing() {
    let parsed = |body: &[u8]| goim::parse_operations(body).map(Iterator::collect::<Vec<_>>);
    assert_eq!(parsed(b""), Some(vec![]));
    assert_eq!(parsed(b"1000"), Some(vec![1000]));
    assert_eq!(
        parsed(b"-1,0,2147483647,-2147483648"),
        Some(vec![-1, 0, i32::MAX, i32::MIN])
    );
    let bad: [&[u8]; 12] = [
        b",",
        b"1000,",
        b",1000",
        b"1000,,1001",
        b"1000, 1001",
        b"1000 ",
        b"1000;1001",
        b"2147483648",
        b"1e3",
        b"0x10",
        b"1000,\xff",
        "١٠٠٠".as_bytes(),
    ];
    for body in bad {
        assert_eq!(parsed(body), None, "{body:?}");
    }
}

#[test]
fn lists_of_operations_are_bounded() {
    let list = |items: usize| vec!["7"; items].join(",");
    let most = list(OPERATIONS_MAX);
    let count = goim::parse_operations(most.as_bytes()).map(Iterator::count);
    assert_eq!(count, Some(OPERATIONS_MAX));
    assert!(goim::parse_operations(list(OPERATIONS_MAX + 1).as_bytes()).is_none());
    assert!(goim::parse_operations(&[b','; 4096]).is_none());
}

#[test]
fn auth_bodies_that_are_none() {
    let bad: [&[u8]; 22] = [
        b"",
        b"  ",
        b"null",
        b"[]",
        b"[1,\"k\",\"live://1\",\"web\",[1]]",
        b"123",
        b"{",
        b"{}{}",
        b"{} x",
        b"{\"mid\":}",
        b"{'mid':1}",
        b"{\"mid\":\"123\"}",
        b"{\"mid\":1.5}",
        b"{\"mid\":9223372036854775808}",
        b"{\"mid\":-9223372036854775809}",
        b"{\"key\":1}",
        b"{\"key\":\"\xff\"}",
        b"{\"room_id\":[\"live://1\"]}",
        b"{\"accepts\":\"1000,1001\"}",
        b"{\"accepts\":[2147483648]}",
        b"{\"accepts\":[\"1000\"]}",
        b"{\"rooms\":\"live://1\"}",
    ];
    for body in bad {
        let parsed = goim::parse_auth(body);
        assert!(
            matches!(parsed, Err(AuthError::Json { .. })),
            "{}: {parsed:?}",
            String::from_utf8_lossy(body)
        );
    }
    // Two parsers that each believe another one of the two would let one be checked and the other act.
    let twice = br#"{"mid":1,"mid":2}"#;
    assert!(goim::parse_auth(twice).is_err());
}

#[test]
fn auth_fields_may_all_be_missing_null_or_unknown() {
    let empty: [&[u8]; 4] = [
        b"{}",
        b" \r\n\t{ } \n",
        br#"{"mid":null,"key":null,"room_id":null,"platform":null,"accepts":null,"token":null,"rooms":null}"#,
        br#"{"data":{"deep":[[[{}]]]},"MID":5,"x":"\ud83d\ude00"}"#,
    ];
    for body in empty {
        assert_eq!(goim::parse_auth(body), Ok(Auth::default()));
    }
    let full =
        br#"{"mid":-9223372036854775808,"key":"k\u00e9y","room_id":"live://1","platform":"ios",
        "accepts":[-1,2147483647],"token":"a.b.c","rooms":["live://2","\"3\""]}"#;
    let expected = Auth {
        mid: i64::MIN,
        key: "kéy".into(),
        room_id: "live://1".into(),
        platform: "ios".into(),
        accepts: vec![-1, i32::MAX],
        token: "a.b.c".into(),
        rooms: vec!["live://2".into(), "\"3\"".into()],
    };
    assert_eq!(goim::parse_auth(full), Ok(expected));
}

#[test]
fn auth_texts_and_lists_are_bounded() {
    let text = |field: &str, bytes: usize| format!(r#"{{"{field}":"{}"}}"#, "x".repeat(bytes));
    let list = |field: &str, item: &str, items: usize| {
        format!(r#"{{"{field}":[{}]}}"#, vec![item; items].join(","))
    };
    let parse = |body: String| goim::parse_auth(body.as_bytes()).map(drop);
    let too_long = |field, bytes_max| Err(AuthError::TooLong { field, bytes_max });
    let too_many = |field, items_max| Err(AuthError::TooMany { field, items_max });

    for (field, bytes_max) in [("key", KEY_BYTES_MAX), ("room_id", ROOM_BYTES_MAX)] {
        assert_eq!(parse(text(field, bytes_max)), Ok(()));
        assert_eq!(
            parse(text(field, bytes_max + 1)),
            too_long(field, bytes_max)
        );
    }
    assert_eq!(parse(list("accepts", "1000", ACCEPTS_MAX)), Ok(()));
    for items in [ACCEPTS_MAX + 1, if cfg!(miri) { 1000 } else { 100_000 }] {
        assert_eq!(
            parse(list("accepts", "1000", items)),
            too_many("accepts", ACCEPTS_MAX)
        );
    }
    assert_eq!(parse(list("rooms", "\"a\"", ROOMS_MAX)), Ok(()));
    assert_eq!(
        parse(list("rooms", "\"a\"", ROOMS_MAX + 1)),
        too_many("rooms", ROOMS_MAX)
    );
    let long_room = format!("\"{}\"", "x".repeat(ROOM_BYTES_MAX + 1));
    assert_eq!(
        parse(list("rooms", &long_room, 1)),
        too_long("rooms", ROOM_BYTES_MAX)
    );
}

/// A parser that recursed would run out of stack.
#[test]
fn nesting_has_no_effect() {
    let depths = [127, 129, 10_000, 1_000_000];
    for depth in depths.into_iter().take(if cfg!(miri) { 2 } else { 4 }) {
        let deep = "[".repeat(depth);
        let closed = format!(r#"{{"x":{deep}{}}}"#, "]".repeat(depth));
        assert!(goim::parse_auth(closed.as_bytes()).is_ok());
        assert!(goim::parse_auth(format!(r#"{{"x":{deep}"#).as_bytes()).is_err());
        assert!(goim::parse_auth(format!(r#"{{"key":{deep}"#).as_bytes()).is_err());
        assert!(goim::parse_auth(format!(r#"{{"accepts":{deep}"#).as_bytes()).is_err());
        let body = format!(r#"{{"op":7,"body":{deep}"#);
        assert!(goim::decode_v1_json(body.as_bytes(), u32::MAX).is_err());

        // As a push it is text: what receivers would do with it is not for its sender to choose.
        let value = format!("{deep}{}", "]".repeat(depth));
        let mut out = Vec::new();
        goim::write_v1_json(&mut out, 0, Operation::SEND_REPLY, 0, value.as_bytes());
        let is_text = out.ends_with(b"\"}]");
        assert_eq!(is_text, depth > 128, "{depth}");
    }
}

#[test]
fn auth_bodies_of_version_1() {
    let user = |uid, number| Ok(AuthV1::User { uid, number });
    assert_eq!(goim::parse_auth_v1(b"0"), user(0, None));
    assert_eq!(goim::parse_auth_v1(b"-5"), user(-5, None));
    assert_eq!(
        goim::parse_auth_v1(b"9223372036854775807,-1"),
        user(i64::MAX, Some(-1))
    );
    assert_eq!(goim::parse_auth_v1(b"\"12,34\""), user(12, Some(34)));

    let bad: [&[u8]; 9] = [
        b",",
        b"1,",
        b",1",
        b"1,2,3",
        b"--1",
        b"1-2",
        b"-",
        b"9223372036854775808",
        b"1,9223372036854775808",
    ];
    for body in bad {
        assert_eq!(
            goim::parse_auth_v1(body),
            Err(AuthError::NotAUser),
            "{body:?}"
        );
    }
    assert_eq!(goim::parse_auth_v1(b"12\xff"), Err(AuthError::NotText));

    let tokens = [
        "",
        "test",
        "eyJh.eyJz.c2ln",
        " 12",
        "12 ",
        "+12",
        "0x12",
        "{}",
    ];
    for token in tokens {
        assert_eq!(
            goim::parse_auth_v1(token.as_bytes()),
            Ok(AuthV1::Token(token))
        );
    }
    assert_eq!(
        goim::parse_auth_v1(b"\"a.b.c\""),
        Ok(AuthV1::Token("a.b.c"))
    );
    for odd in ["\"", "\"a\\u0041\"", "\"a\"b\""] {
        assert_eq!(goim::parse_auth_v1(odd.as_bytes()), Ok(AuthV1::Token(odd)));
    }
}

#[test]
fn generations_and_forms_are_told_by_their_first_byte() {
    for (body, expected) in [
        (&b"{\"mid\":1}"[..], Generation::V2),
        (b" \n{", Generation::V2),
        (b"", Generation::V1),
        (b"1,2", Generation::V1),
        (b"\"{\"", Generation::V1),
        (b"[{}]", Generation::V1),
    ] {
        assert_eq!(goim::generation(body), expected, "{body:?}");
    }

    assert_eq!(goim::message_form(&honest(b"{}")), Some(MessageForm::Frame));
    assert_eq!(
        goim::message_form(b"\t{\"ver\":1}"),
        Some(MessageForm::Json)
    );
    let neither: [&[u8]; 6] = [
        b"",
        b" ",
        b"[{}]",
        b"\x01\0\0\x10",
        b"GET /",
        b"\xef\xbb\xbf{}",
    ];
    for message in neither {
        assert_eq!(goim::message_form(message), None, "{message:?}");
    }
}

#[test]
fn json_messages_that_are_none() {
    let bad: [&[u8]; 14] = [
        b"",
        b"[]",
        b"[1,7,1,{}]",
        b"null",
        b"{",
        b"{}{}",
        b"{\"ver\":32768}",
        b"{\"ver\":\"1\"}",
        b"{\"op\":2147483648}",
        b"{\"op\":7.5}",
        b"{\"seq\":true}",
        b"{\"body\":}",
        b"{\"body\":\"\xff\"}",
        b"{\"op\":2,\"op\":7}",
    ];
    for message in bad {
        let decoded = goim::decode_v1_json(message, V1_BODY_BYTES_MAX);
        assert!(
            matches!(decoded, Err(JsonError::Malformed { .. })),
            "{}: {decoded:?}",
            String::from_utf8_lossy(message)
        );
    }
}

#[test]
fn json_bodies_are_as_they_stand_and_bounded() {
    let body_of = |message| goim::decode_v1_json(message, 16).map(|frame| frame.body);
    assert_eq!(body_of(b"{}"), Ok(&b""[..]));
    assert_eq!(body_of(br#"{"body":null}"#), Ok(&b""[..]));
    assert_eq!(body_of(br#"{"body": "1,2" ,"x":1}"#), Ok(&b"\"1,2\""[..]));
    assert_eq!(
        body_of(br#"{"body":{"a" : 1.50}}"#),
        Ok(&b"{\"a\" : 1.50}"[..])
    );
    assert_eq!(
        body_of(br#"{"body":"01234567890123"}"#).map(<[u8]>::len),
        Ok(16)
    );
    let error = JsonError::TooLarge {
        body_bytes: 17,
        body_bytes_max: 16,
    };
    assert_eq!(body_of(br#"{"body":"012345678901234"}"#), Err(error));
    assert_eq!(error.code(), DisconnectCode::BAD_REQUEST);
}

/// The original closes the connection of whoever is pushed something that is not JSON.
#[test]
fn pushes_that_are_no_json_become_text() {
    let cases: [(&[u8], &str); 9] = [
        (b"", "{}"),
        (b"1.50", "1.50"),
        (b" [1,\n2] ", "[1, 2]"),
        (b"goal", r#""goal""#),
        (b"\"}] open", r#""\"}] open""#),
        (b"{\"a\":1}}]", r#""{\"a\":1}}]""#),
        (b"a\nb\0\x1f\\", r#""a\nb\u0000\u001f\\""#),
        ("goül".as_bytes(), r#""goül""#),
        (b"\xff\xfe", r#""//4=""#),
    ];
    for (body, json) in cases {
        let mut out = b"before".to_vec();
        goim::write_v1_json(&mut out, -1, Operation::SEND_REPLY, i32::MIN, body);
        let expected = format!(r#"before[{{"ver":-1,"op":5,"seq":-2147483648,"body":{json}}}]"#);
        assert_eq!(String::from_utf8(out), Ok(expected));
    }
}

#[test]
#[should_panic(expected = "has passed no limit")]
#[cfg_attr(miri, ignore = "a gigabyte")]
fn a_body_past_every_limit_is_a_bug_of_the_caller() {
    let body = vec![0; goim::BODY_BYTES_WRITTEN_MAX + 1];
    goim::write_push(&mut Vec::new(), 1, Operation(1000), &body);
}
