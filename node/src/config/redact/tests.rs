use super::*;

#[track_caller]
fn check(rules: &Redact, path: &str, hidden: bool) {
    let path: Vec<String> = path.split('.').map(fold).collect();
    assert_eq!(rules.hides(&path), hidden, "{path:?}");
}

#[test]
fn names_are_found_at_any_depth_and_in_any_spelling() {
    let rules = Redact::with(&["iban", "*_nr", "schlüssel", "κωδικος"], &[]);
    for path in [
        "password",
        "a.b.userPassword",
        "X-API-Key",
        "apikey",
        "client_secret",
        "a.PA\u{17f}\u{17f}WD",
        "access-token",
        "i_ban",
        "customer_nr",
        "SCHLÜSSEL",
        "Schlüs-sel",
        "ΚΩΔΙΚΟΣ",
    ] {
        check(&rules, path, true);
    }
    for path in ["user", "max_tokens", "pinned", "a.password.length", "nr_x"] {
        check(&rules, path, false);
    }
}

#[test]
fn paths_start_at_the_outermost_object() {
    let rules = Redact::with(
        &["user.*.name", "card.**.number", "**.deep.end", "a?.b"],
        &[],
    );
    for path in [
        "user.x.name",
        "card.number",
        "card.a.b.number",
        "deep.end",
        "x.y.deep.end",
        "ab.b",
    ] {
        check(&rules, path, true);
    }
    for path in [
        "user.name",
        "x.user.y.name",
        "user.x.y.name",
        "number",
        "card",
        "end",
        "deep.end.x",
        "a.b",
    ] {
        check(&rules, path, false);
    }
}

#[track_caller]
fn hidden(text: &str, want: &str) {
    let rules = Redact::with(&[], &[r"\d{4}", "sk-[a-z0-9]+", "AB.", ".BC"]);
    assert_eq!(rules.hide_in(text), want);
}

#[test]
fn every_pattern_sees_the_whole_text() {
    hidden("plain", "plain");
    hidden("x sk-abc1234def y", "x [redacted] y");
    hidden("12345", "[redacted]5");
    hidden("xABxBCx", "x[redacted]x");
    hidden("xABCx", "x[redacted]x");
}

#[test]
fn credentials_of_known_form_are_hidden_without_being_named() {
    let rules = Redact::with(&[], &[]);
    for (text, want) in [
        ("Bearer abcdefgh12", "[redacted]"),
        ("authorization: Basic dXNlcjpwYXNz, x", "[redacted], x"),
        (r"authorization: a\b, x", "[redacted], x"),
        ("user=a&password=hunter2&x=1", "user=a&[redacted]&x=1"),
        ("DB_PASSWORD='a b' run", "DB_[redacted] run"),
        ("id AKIAABCDEFGHIJKLMNOP.", "id [redacted]."),
        ("ghp_0123456789abcdef", "[redacted]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc", "[redacted]"),
        ("eyJhbGciOi.eyJzdWIi.c2ln end", "[redacted] end"),
        ("Cookie: session=abc; b=\"c d\"\nx", "[redacted]\nx"),
        ("-H 'Cookie: a=b; c=d' x", "-H '[redacted]' x"),
        ("mysql --password hunter2 -h x", "mysql [redacted] -h x"),
        ("x --db-token 'a b' y", "x [redacted] y"),
        ("x -token=hunter2", "x -[redacted]"),
    ] {
        assert_eq!(rules.hide_in(text), want);
    }
}

#[test]
fn quotes_do_not_let_a_credential_out() {
    let rules = Redact::with(&[], &[]);
    for (text, want) in [
        (r#"password="hunter2"#, "[redacted]"),
        (r#"password="a\"hunter2" x"#, "[redacted] x"),
        (r"password='it'\''s' x", "[redacted] x"),
        (r"password='it''s' x", "[redacted] x"),
        (r"password=a\ b x", "[redacted] x"),
        (r#"'password' => "a b", x"#, "'[redacted], x"),
        (
            r#"curl -d "{\"password\": \"hunter2\"}" http://x"#,
            r#"curl -d "{\"[redacted]}" http://x"#,
        ),
        (
            r#""{\"password\":\"a\\\"hunter2\",\"b\":1}""#,
            r#""{\"[redacted],\"b\":1}""#,
        ),
        (
            r#""{\\\"token\\\":\\\"hunter2\\\",\\\"b\\\":1}""#,
            r#""{\\\"[redacted],\\\"b\\\":1}""#,
        ),
        (
            r#"-H "Authorization: Digest hunter2" x"#,
            r#"-H "[redacted]" x"#,
        ),
        (
            r#"{\"Authorization\":\"Basic abc\"}"#,
            r#"{\"[redacted]\"}"#,
        ),
    ] {
        assert_eq!(rules.hide_in(text), want);
    }
}

#[test]
fn credentials_in_urls_are_hidden_up_to_the_host() {
    let rules = Redact::with(&[], &[]);
    for (text, want) in [
        ("postgres://joe:pw@db/x", "[redacted]db/x"),
        ("postgres://joe:p@ss@db/x", "[redacted]db/x"),
        ("postgres://joe:a/b@db/x", "[redacted]db/x"),
        ("postgres://joe:p@s/s@db/x", "[redacted]db/x"),
        ("postgres://joe:12/x@db/x", "[redacted]db/x"),
        ("postgres://db.local:5432/x@y", "[redacted]y"),
        ("redis://:1/@db", "[redacted]db"),
        ("amqp://joe:/x@mq", "[redacted]mq"),
        (r"mysql:\/\/joe:12\/x@db", "[redacted]db"),
        ("https://joe:12/x@host/", "[redacted]host/"),
        ("https://joe.x:123456/x@host/", "[redacted]host/"),
        ("https://joe%40x.y:12/x@host/", "[redacted]host/"),
        (
            "http://a.b:80/,https://joe:12/x@host/",
            "http://a.b:80/,[redacted]host/",
        ),
        ("HTTPS://token@host/ x", "[redacted]host/ x"),
        (r"https:\/\/token@host/", "[redacted]host/"),
    ] {
        assert_eq!(rules.hide_in(text), want);
    }
}

#[test]
fn what_only_resembles_a_credential_is_shown() {
    let rules = Redact::with(&[], &[]);
    for text in [
        "the token of my esteem",
        "the access-token endpoint",
        "ls --password-file /x",
        "eat a cookie",
        "http://host.x:8080/a@b",
        "http://localhost:4873/@scope/name",
        "HTTP://127.0.0.1:80/?mail=joe@x.y",
        "postgres://db:5432/x",
        "http://[::1]:8080/a@b",
        "https://host/@user",
    ] {
        assert_eq!(rules.hide_in(text), text);
    }
}

#[test]
fn rules_that_are_none_are_named() {
    let long = ["a"; 40].join(".");
    let fields = ["ok", "", "a..b", &long, "-"].map(str::to_owned);
    let patterns = ["ok", "a*", "(", r"\w{1000}{1000}"].map(str::to_owned);
    let wrong = Redact::new(&fields, &patterns).unwrap_err();
    let places: Vec<Place> = wrong.iter().map(|wrong| wrong.place).collect();
    let fields = [1, 2, 3, 4].map(Place::Field);
    let patterns = [1, 2, 3].map(Place::Pattern);
    assert_eq!(places, [fields.as_slice(), &patterns].concat());
    assert_eq!(wrong[5].why, RuleError::Syntax("unclosed group".to_owned()));
    assert_eq!(wrong[6].why, RuleError::Large);
}

#[test]
fn keys_that_are_too_many_together_are_no_single_ones_fault() {
    let fields: Vec<String> = (0..1000)
        .map(|n| format!("{n}{}", "x".repeat(99)))
        .collect();
    let wrong = Redact::new(&fields, &[]).unwrap_err();
    let want = WrongRule {
        place: Place::Fields,
        why: RuleError::Large,
    };
    assert_eq!(wrong, [want]);
}
