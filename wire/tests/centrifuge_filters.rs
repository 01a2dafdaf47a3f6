//! Filters by tags, as SDKs send them in JSON: which publications they let through, and which filters are refused.

#![allow(clippy::unwrap_used)]

use fanfare_wire::centrifuge::codes::ErrorCode;
use fanfare_wire::centrifuge::json::{self, CommandError};
use fanfare_wire::centrifuge::{
    FILTER_DEPTH_MAX, FILTER_NODES_MAX, FILTER_TEXT_BYTES_MAX, FILTER_VALUES_MAX, FilterError,
    FilterNode, Method, NumberTest, TagTest,
};

fn decoded(tf: &str) -> Result<Option<Result<FilterNode, FilterError>>, CommandError> {
    let text = format!(r#"{{"id":1,"subscribe":{{"tf":{tf},"channel":"c"}}}}"#);
    let command = json::commands(&text).next().unwrap()?;
    let Method::Subscribe(subscribe) = command.method else {
        panic!("not a subscribe")
    };
    Ok(subscribe.filter)
}

fn filter(tf: &str) -> FilterNode {
    decoded(tf).unwrap().unwrap().unwrap()
}

fn refusal(tf: &str) -> FilterError {
    decoded(tf).unwrap().unwrap().unwrap_err()
}

fn tags(tags: &[(&str, &str)]) -> Vec<(Box<str>, Box<str>)> {
    tags.iter()
        .map(|&(key, value)| (key.into(), value.into()))
        .collect()
}

/// Whether the leaf `{key: "k", cmp, val}` lets a publication through whose tag `k` is `value`.
fn passes(cmp: &str, val: &str, value: &str) -> bool {
    let filter = filter(&format!(r#"{{"key":"k","cmp":"{cmp}","val":"{val}"}}"#));
    filter.matches(&tags(&[("other", val), ("k", value)]))
}

fn passes_without_the_tag(cmp: &str, val: &str) -> bool {
    let filter = filter(&format!(r#"{{"key":"k","cmp":"{cmp}","val":"{val}"}}"#));
    filter.matches(&tags(&[("other", val)]))
}

#[test]
fn text_comparisons() {
    for (cmp, val, value, expected) in [
        ("eq", "a", "a", true),
        ("eq", "a", "A", false),
        ("eq", "a", "", false),
        ("neq", "a", "a", false),
        ("neq", "a", "b", true),
        ("sw", "ab", "abc", true),
        ("sw", "ab", "cab", false),
        ("ew", "bc", "abc", true),
        ("ew", "bc", "bcd", false),
        ("ct", "b", "abc", true),
        ("ct", "d", "abc", false),
        ("ct", "ü", "für", true),
    ] {
        assert_eq!(passes(cmp, val, value), expected, "{value} {cmp} {val}");
    }
    for (cmp, expected) in [
        ("eq", false),
        ("neq", true),
        ("sw", false),
        ("ew", false),
        ("ct", false),
    ] {
        assert_eq!(passes_without_the_tag(cmp, "a"), expected, "{cmp}");
    }
}

#[test]
fn number_comparisons() {
    // The number, the one it is compared with, and how it compares.
    let ordered = [
        ("1", "2", -1),
        ("2", "10", -1),
        ("10", "9", 1),
        ("1.5", "1.50", 0),
        ("1.05", "1.5", -1),
        ("1.5", "1.45", 1),
        ("007", "7", 0),
        ("0", "-0", 0),
        ("-0.0", "0", 0),
        ("+3", "3", 0),
        ("-1", "1", -1),
        ("-2", "-1", -1),
        ("-1.25", "-1.2", -1),
        ("0.1", "0.09999999999999999", 1),
        ("9007199254740993", "9007199254740992", 1),
        (
            "123456789012345678901234567890123456789012345",
            "123456789012345678901234567890123456789012344",
            1,
        ),
        ("0.0000000000000000001", "0", 1),
    ];
    for (value, bound, ordering) in ordered {
        for (cmp, expected) in [
            ("lt", ordering < 0),
            ("lte", ordering <= 0),
            ("gt", ordering > 0),
            ("gte", ordering >= 0),
        ] {
            assert_eq!(passes(cmp, bound, value), expected, "{value} {cmp} {bound}");
            let mirrored = match cmp {
                "lt" => "gt",
                "lte" => "gte",
                "gt" => "lt",
                _ => "lte",
            };
            assert_eq!(passes(mirrored, value, bound), expected);
        }
    }
}

#[test]
fn what_is_no_number_is_on_neither_side() {
    let long = "1".repeat(201);
    for text in [
        "",
        "abc",
        "1e3",
        "0x10",
        "1.",
        ".5",
        "-.5",
        "-",
        "+",
        "+-1",
        "1,5",
        " 1",
        "1 ",
        "1.2.3",
        "NaN",
        "٣",
        "1_000",
        "0.00000000000000000001",
        &long,
    ] {
        for cmp in ["lt", "lte", "gt", "gte"] {
            assert!(!passes(cmp, "5", text), "{text} {cmp} 5");
            if !text.is_empty() {
                assert!(!passes(cmp, text, "5"), "5 {cmp} {text}");
            }
            assert!(!passes_without_the_tag(cmp, "5"));
        }
    }
}

#[test]
fn presence_and_lists() {
    let exists = filter(r#"{"key":"k","cmp":"ex"}"#);
    let absent = filter(r#"{"key":"k","cmp":"nex","val":"","vals":[],"nodes":null,"op":null}"#);
    let with = tags(&[("k", "")]);
    let without = tags(&[("K", "1")]);
    assert!(exists.matches(&with) && !exists.matches(&without));
    assert!(!absent.matches(&with) && absent.matches(&without));

    let among = filter(r#"{"key":"k","cmp":"in","vals":["a","b"]}"#);
    let not_among = filter(r#"{"key":"k","cmp":"nin","vals":["a","b"]}"#);
    for (value, is_in) in [("a", true), ("b", true), ("c", false), ("", false)] {
        assert_eq!(among.matches(&tags(&[("k", value)])), is_in);
        assert_eq!(not_among.matches(&tags(&[("k", value)])), !is_in);
    }
    assert!(!among.matches(&[]) && not_among.matches(&[]));
    // A tag that is not there counts as empty here, as in Centrifugo.
    let empty = filter(r#"{"key":"k","cmp":"in","vals":[""]}"#);
    assert!(empty.matches(&[]));
}

#[test]
fn operations() {
    let text = r#"{"op":"or","nodes":[
        {"op":"and","nodes":[{"key":"lang","cmp":"eq","val":"de"},{"key":"price","cmp":"lt","val":"9.99"}]},
        {"op":"not","nodes":[{"key":"lang","cmp":"ex"}]}
    ]}"#
    .replace('\n', " ");
    let filter = filter(&text);
    assert!(filter.matches(&tags(&[("lang", "de"), ("price", "9.5")])));
    assert!(!filter.matches(&tags(&[("lang", "de"), ("price", "9.99")])));
    assert!(!filter.matches(&tags(&[("lang", "en"), ("price", "1")])));
    assert!(filter.matches(&tags(&[("price", "100")])));
    assert!(filter.matches(&[]));

    let leaf = |key: &str, test| FilterNode::Tag {
        key: key.into(),
        test,
    };
    let and = [
        leaf("lang", TagTest::Is("de".into())),
        leaf("price", TagTest::Number(NumberTest::Below, "9.99".into())),
    ];
    let not = FilterNode::Not(Box::new(leaf("lang", TagTest::Exists)));
    assert_eq!(
        filter,
        FilterNode::Or([FilterNode::And(and.into()), not].into())
    );
}

#[test]
fn no_filter() {
    assert_eq!(decoded("null"), Ok(None));
}

#[test]
fn filters_that_are_none() {
    for (tf, expected) in [
        ("{}", FilterError::UnknownComparison),
        (r#"{"key":"k","val":"v"}"#, FilterError::UnknownComparison),
        (
            r#"{"key":"k","cmp":"EQ","val":"v"}"#,
            FilterError::UnknownComparison,
        ),
        (
            r#"{"op":"xor","nodes":[{"key":"k","cmp":"ex"}]}"#,
            FilterError::UnknownOperation,
        ),
        (r#"{"op":"and"}"#, FilterError::WrongNodes),
        (r#"{"op":"or","nodes":[]}"#, FilterError::WrongNodes),
        (r#"{"op":"not"}"#, FilterError::WrongNodes),
        (
            r#"{"op":"not","nodes":[{"key":"k","cmp":"ex"},{"key":"k","cmp":"ex"}]}"#,
            FilterError::WrongNodes,
        ),
        (r#"{"cmp":"eq","val":"v"}"#, FilterError::MissingKey),
        (r#"{"key":"k","cmp":"eq"}"#, FilterError::WrongValue),
        (
            r#"{"key":"k","cmp":"eq","val":"v","vals":["v"]}"#,
            FilterError::WrongValue,
        ),
        (r#"{"key":"k","cmp":"in"}"#, FilterError::WrongValue),
        (
            r#"{"key":"k","cmp":"in","val":"v","vals":["v"]}"#,
            FilterError::WrongValue,
        ),
        (
            r#"{"key":"k","cmp":"ex","val":"v"}"#,
            FilterError::WrongValue,
        ),
        (
            r#"{"key":"k","cmp":"nex","vals":["v"]}"#,
            FilterError::WrongValue,
        ),
        (
            r#"{"op":"and","nodes":[{"key":"k","cmp":"ex"},{"op":"?"}]}"#,
            FilterError::UnknownOperation,
        ),
    ] {
        assert_eq!(refusal(tf), expected, "{tf}");
        assert_eq!(expected.code(), ErrorCode::BAD_REQUEST);
    }
    // As in Centrifugo.
    assert!(filter(r#"{"cmp":"ex"}"#).matches(&tags(&[("", "")])));
}

#[test]
fn what_is_not_of_the_protocols_types_ends_the_connection() {
    for tf in [
        "1",
        "[]",
        r#""and""#,
        r#"{"op":1}"#,
        r#"{"op":"and","nodes":{}}"#,
        r#"{"op":"and","nodes":[null]}"#,
        r#"{"op":"and","nodes":[1]}"#,
        r#"{"key":"k","cmp":"in","vals":"a"}"#,
        r#"{"key":"k","cmp":"in","vals":[1]}"#,
        r#"{"key":"k","cmp":"eq","val":5}"#,
    ] {
        assert!(
            matches!(decoded(tf), Err(CommandError::Malformed { .. })),
            "{tf}"
        );
    }
}

#[test]
fn unknown_fields_are_skipped() {
    let filter = filter(r#"{"key":"k","future":[{"op":5}],"cmp":"ex"}"#);
    assert!(filter.matches(&tags(&[("k", "1")])));
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| {
        let leaf = r#"{"key":"k","cmp":"ex"}"#.to_owned();
        (1..levels).fold(leaf, |inner, _| {
            format!(r#"{{"op":"not","nodes":[{inner}]}}"#)
        })
    };
    let deepest = filter(&nested(FILTER_DEPTH_MAX));
    assert_eq!(deepest.matches(&[]), (FILTER_DEPTH_MAX - 1) % 2 == 1);
    assert_eq!(refusal(&nested(FILTER_DEPTH_MAX + 1)), FilterError::TooDeep);
    // Past the depth that any command may have.
    assert_eq!(decoded(&nested(10_000)), Err(CommandError::TooDeep));
}

#[test]
fn nodes_are_bounded() {
    let wide = |nodes: usize| {
        let leaf = r#"{"key":"k","cmp":"ex"}"#;
        format!(
            r#"{{"op":"or","nodes":[{}]}}"#,
            vec![leaf; nodes - 1].join(",")
        )
    };
    assert!(filter(&wide(FILTER_NODES_MAX)).matches(&tags(&[("k", "")])));
    assert_eq!(
        refusal(&wide(FILTER_NODES_MAX + 1)),
        FilterError::TooManyNodes
    );
    assert_eq!(refusal(&wide(100_000)), FilterError::TooManyNodes);
}

#[test]
fn values_and_text_are_bounded() {
    let list = |values: usize| {
        format!(
            r#"{{"key":"k","cmp":"in","vals":[{}]}}"#,
            vec![r#""v""#; values].join(",")
        )
    };
    assert!(filter(&list(FILTER_VALUES_MAX)).matches(&tags(&[("k", "v")])));
    assert_eq!(
        refusal(&list(FILTER_VALUES_MAX + 1)),
        FilterError::TooManyValues
    );
    let two = |values: usize| {
        let list = list(values);
        format!(r#"{{"op":"or","nodes":[{list},{list}]}}"#)
    };
    assert!(
        decoded(&two(FILTER_VALUES_MAX / 2))
            .unwrap()
            .unwrap()
            .is_ok()
    );
    assert_eq!(
        refusal(&two(FILTER_VALUES_MAX / 2 + 1)),
        FilterError::TooManyValues
    );

    let long = |bytes: usize| {
        let value = "v".repeat(bytes - 1);
        format!(r#"{{"key":"k","cmp":"eq","val":"{value}"}}"#)
    };
    assert!(
        decoded(&long(FILTER_TEXT_BYTES_MAX))
            .unwrap()
            .unwrap()
            .is_ok()
    );
    assert_eq!(
        refusal(&long(FILTER_TEXT_BYTES_MAX + 1)),
        FilterError::TooLong
    );
}
