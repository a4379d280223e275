use super::*;

fn load(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.toml");
    std::fs::write(&path, file).unwrap();
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    Config::load(Some(&path), owned(environment), &owned(flags))
        .map_err(|error| error.to_string().replace(&path.display().to_string(), "k.toml"))
}

#[test]
fn the_built_in_defaults_are_what_the_repository_file_says() {
    let config = Config::default();
    rules::check(&config).unwrap();
    assert_eq!(config.mode, Mode::Development);
    assert_eq!(config.database.url.expose_secret(), "sqlite://data/k-webhooks.db");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.internal.listen.to_string(), "127.0.0.1:8081");
    let minutes: Vec<u64> = config.retry.ladder.iter().map(|rung| rung.as_secs() / 60).collect();
    assert_eq!(minutes, [1, 5, 30, 120, 360, 720, 1440]);
    assert_eq!(config.retry.window, Duration::from_secs(72 * 3600));
    assert!((config.retry.jitter - 0.1).abs() < f64::EPSILON);
    assert_eq!((config.delivery.timeout.as_secs(), config.delivery.connect_timeout.as_secs()), (15, 5));
    assert_eq!((config.delivery.max_in_flight, config.delivery.max_in_flight_per_endpoint), (1024, 32));
    assert_eq!((config.delivery.response_body_max, config.limits.event_body_max), (4096, 256 * 1024));
    assert_eq!((config.limits.batch_events_max, config.limits.endpoints_per_merchant), (1000, 16));
    assert_eq!(config.limits.requests_per_second, 100);
    assert_eq!(config.retention.events, Duration::from_secs(30 * 86_400));
    assert!(
        !config.test_clock.enabled
            && !config.security.allow_http
            && config.security.allow_networks.is_empty()
    );
    assert_eq!(config.shutdown.grace.as_secs(), 30);
    assert!(config.internal.bootstrap_key.expose_secret().is_empty());
}

#[test]
fn flags_go_over_the_environment_over_the_file_over_the_defaults() {
    let file = "[shutdown]\ngrace = \"1s\"\n[retry]\njitter = 0\n[delivery]\ntimeout = \"9s\"";
    let environment = [
        ("K_WEBHOOKS__SHUTDOWN__GRACE", "2s"),
        ("K_WEBHOOKS__RETRY__LADDER", "[\"1m\", \"5m\"]"),
        ("HOME", "/"),
    ];
    let config = load(file, &environment, &[]).unwrap();
    assert_eq!((config.shutdown.grace.as_secs(), config.delivery.timeout.as_secs()), (2, 9));
    assert_eq!(config.retry.ladder.len(), 2);
    let config = load(file, &environment, &[("shutdown.grace", "3s")]).unwrap();
    assert_eq!(config.shutdown.grace.as_secs(), 3);
}

#[test]
fn a_console_session_lasts_for_a_minute_to_a_day() {
    let session = |text: &str| load(&format!("[console]\nsession = {text:?}"), &[], &[]);
    assert_eq!(session("30m").unwrap().console.session.as_secs(), 1800);
    for bad in ["59s", "25h", "0s"] {
        assert_eq!(session(bad).unwrap_err(), "console.session: must be from 1m to 24h");
    }
}

#[test]
fn the_addresses_of_the_portal_are_origins_and_https_in_production() {
    let origin = |key: &str, value: &str| load(&format!("[portal]\n{key} = {value}"), &[], &[]);
    for good in ["https://a.example", "http://localhost:8080", "https://a.example:8443"] {
        assert!(origin("url", &format!("{good:?}")).is_ok(), "{good}");
    }
    for bad in [
        "a.example",
        "https://a.example/",
        "https://a.example/portal",
        "https://A.example",
        "ftp://a.example",
    ] {
        assert!(
            origin("url", &format!("{bad:?}")).unwrap_err().contains("portal.url: must be a scheme"),
            "{bad}"
        );
        let refused = origin("origins", &format!("[\"https://a.example\", {bad:?}]")).unwrap_err();
        assert!(refused.contains("portal.origins: each must be a scheme"), "{bad}");
    }
    let key =
        ("security.encryption_key".to_owned(), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned());
    let production = |flag: (&str, &str)| {
        let flags = [("mode", "production"), (&key.0, &key.1), flag];
        load("", &[], &flags)
    };
    assert!(
        production(("portal.url", "http://a.example"))
            .unwrap_err()
            .contains("portal.url: production needs https")
    );
    let origins = ("portal.origins", "[\"http://a.example\"]");
    assert!(production(origins).unwrap_err().contains("portal.origins: production needs https"));
    let config = load("", &[], &[]).unwrap();
    assert_eq!(config.portal_url("0.0.0.0:80".parse().unwrap()).unwrap(), "http://localhost:80");
    assert_eq!(config.portal_url("127.0.0.1:80".parse().unwrap()).unwrap(), "http://127.0.0.1:80");
}

#[test]
fn an_endpoint_that_fails_is_disabled_after_a_time_or_never() {
    let after = |text: &str| {
        load("", &[], &[("endpoint.disable_after_failing", text)])
            .map(|config| config.endpoint.disable_after_failing)
    };
    assert_eq!(Config::default().endpoint.disable_after_failing, Some(Duration::from_secs(120 * 3600)));
    assert_eq!(after("2d"), Ok(Some(Duration::from_secs(48 * 3600))));
    for never in ["never", "0", "0s"] {
        assert_eq!(after(never), Ok(None));
    }
    let error = after("soon").unwrap_err();
    assert!(error.starts_with("endpoint.disable_after_failing: \"soon\" is not a duration"), "{error}");
}

#[test]
fn operational_types_are_all_or_some_and_told_only_where_there_is_somewhere_to_tell() {
    const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let told = |types: &str, url: &str| {
        let flags =
            [("operations.types", types), ("operations.url", url), ("operations.signing_secret", SECRET)];
        load("", &[], &flags).map(|config| config.operations.told())
    };
    let url = "https://example.com/";
    assert_eq!(told(r#"["*"]"#, url), Ok(Told::of(OperationalType::ALL)));
    let some = Told::of(&[OperationalType::EndpointDisabled]);
    assert_eq!(told(r#"["webhook_endpoint.disabled"]"#, url), Ok(some));
    assert_eq!(told(r#"["*"]"#, ""), Ok(Told::NOTHING));
    let error = told(r#"["webhook_endpoint.gone"]"#, url).unwrap_err();
    assert!(error.starts_with("operations.types: \"webhook_endpoint.gone\" must be one of"), "{error}");
    let config = load("", &[], &[("operations.url", url), ("operations.signing_secret", SECRET)]).unwrap();
    assert!(!format!("{config:?}").contains("whsec_"));
}

#[test]
fn texts_from_the_environment_stay_as_they_are() {
    let config = load("", &[("K_WEBHOOKS__INTERNAL__BOOTSTRAP_KEY", "000123")], &[]).unwrap();
    assert_eq!(config.internal.bootstrap_key.expose_secret(), "000123");
    assert!(!format!("{config:?}").contains("000123"));
    assert!(load("", &[("K_WEBHOOKS__TEST_CLOCK__ENABLED", "true")], &[]).unwrap().test_clock.enabled);
}

#[test]
fn a_text_or_a_list_can_stand_in_a_file_that_the_environment_names() {
    const KEY: &str = "K_WEBHOOKS__INTERNAL__BOOTSTRAP_KEY_FILE";
    const LIST: &str = "K_WEBHOOKS__SECURITY__ALLOW_NETWORKS_FILE";
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let from = |name: &str, path: &str| load("", &[(name, path)], &[]);
    for (content, expected) in
        [("a-secret\n", "a-secret"), ("a-secret\r\n", "a-secret"), (" a b\n\n", " a b\n")]
    {
        let config = from(KEY, &file("key", content.as_bytes())).unwrap();
        assert_eq!(config.internal.bootstrap_key.expose_secret(), expected);
        assert!(!format!("{config:?}").contains("a-secret"));
    }
    let config = from(LIST, &file("list", b"[\"10.0.0.0/8\"]\n")).unwrap();
    assert_eq!(config.security.allow_networks.len(), 1);
    // The file of an option whose own name ends so, and no file for what is neither a text nor a list.
    let error = from("K_WEBHOOKS__RETRY__JITTER_FILE", &file("jitter", b"0")).unwrap_err();
    assert!(error.starts_with("K_WEBHOOKS__RETRY__JITTER_FILE: unknown key retry.jitter_file"), "{error}");

    let missing = folder.path().join("missing").display().to_string();
    for (name, path, why) in [
        (KEY, missing, "cannot be read: entity not found"),
        (KEY, file("empty", b""), "is empty"),
        (KEY, file("newline", b"\n"), "is empty"),
        (KEY, file("binary", b"a-secret\xff"), "is not UTF-8"),
        (KEY, "/dev/zero".to_owned(), "is larger than 64 KiB"),
    ] {
        assert_eq!(from(name, &path).unwrap_err(), format!("{name}: the file {why}"));
    }
    let error = from(LIST, &file("not-a-list", b"a-secret")).unwrap_err();
    assert_eq!(
        error,
        "K_WEBHOOKS__SECURITY__ALLOW_NETWORKS_FILE: security.allow_networks: cannot be read as a list, such as [\"…\", \"…\"]"
    );
    let path = file("key", b"a-secret");
    let both = [(KEY, path.as_str()), ("K_WEBHOOKS__INTERNAL__BOOTSTRAP_KEY", "another")];
    let error = load("", &both, &[]).unwrap_err();
    assert_eq!(error, format!("{KEY}: K_WEBHOOKS__INTERNAL__BOOTSTRAP_KEY is given too"));
}

#[test]
fn encryption_keys_are_checked_and_never_shown() {
    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let earlier = "K_WEBHOOKS__SECURITY__EARLIER_ENCRYPTION_KEYS";
    let list = format!("[\"{KEY}\"]");
    let config = load("", &[("K_WEBHOOKS__SECURITY__ENCRYPTION_KEY", KEY), (earlier, &list)], &[]).unwrap();
    assert_eq!(config.security.earlier_encryption_keys.len(), 1);
    assert!(!format!("{config:?}").contains(KEY));
    for (text, why) in [
        (
            KEY,
            "K_WEBHOOKS__SECURITY__EARLIER_ENCRYPTION_KEYS: security.earlier_encryption_keys: cannot be read as a list",
        ),
        (r#"["short"]"#, "security.earlier_encryption_keys: each must be the base64 of 32 bytes"),
        (&list, "security.earlier_encryption_keys: needs security.encryption_key, to which to move"),
    ] {
        let error = load("", &[(earlier, text)], &[]).unwrap_err();
        assert!(error.starts_with(why) && !error.contains(KEY) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn every_error_is_one_line_that_names_the_key_and_the_nearest_valid_one() {
    for (file, message) in [
        ("[retry]\nladdr = []", "k.toml: unknown key retry.laddr; the nearest is retry.ladder"),
        ("mod = \"x\"", "k.toml: unknown key mod; the nearest is mode"),
        (
            "mode = \"prod\"",
            "mode: unknown variant `prod`, expected `development` or `production`; the nearest is production",
        ),
        (
            "[retry]\nwindow = \"soon\"",
            "retry.window: \"soon\" is not a duration, such as 15s, 5m, 72h or 30d",
        ),
        (
            "[retry]\nladder = [\"1m\", \"x\"]",
            "retry.ladder: \"x\" is not a duration, such as 15s, 5m, 72h or 30d",
        ),
        (
            "[endpoint]\ndisable_after_failing = \"59m\"",
            "endpoint.disable_after_failing: must be at least 1h, or never",
        ),
        (
            "[operations]\nurl = \"https://example.com/\"",
            "operations.signing_secret: operations.url needs one",
        ),
        (
            "[operations]\nsigning_secret = \"sesame\"",
            "operations.signing_secret: must be whsec_ and the base64 of 32 bytes",
        ),
        ("[retry]\nladder = []", "retry.ladder: must have at least one delay"),
        ("[retry]\njitter = 2", "retry.jitter: must be from 0 to 1"),
        (
            "[limits]\nevent_body_max = \"big\"",
            "limits.event_body_max: \"big\" is not a size, such as 256KiB",
        ),
        ("[test_clock]\nenabled = \"yes\"", "k.toml: test_clock.enabled: must be a boolean, not a string"),
        (
            "[database]\nurl = \"mysql://x\"",
            "database.url: must be a sqlite: or postgres: URL, such as sqlite://data/k-webhooks.db or \
             postgres://user:password@host/database",
        ),
        (
            "[retry]\nwindow = \"1h\"\n[retention]\nevents = \"2h\"",
            "retention.events: must be at least 24h, for which idempotency keys are remembered",
        ),
        (
            "[limits]\naccept_queue_bytes_max = \"1MiB\"",
            "limits.accept_queue_bytes_max: must not be smaller than limits.batch_body_max and event_body_max",
        ),
        ("[database]\nmax_connections = 1", "database.max_connections: must be at least 2"),
        ("[database]\nstatement_timeout = \"1ms\"", "database.statement_timeout: must be from 100ms to 10m"),
        ("mode = \"production\"", "security.encryption_key: production needs one"),
        (
            "[security]\nports = [\"443-80\"]",
            "security.ports[0]: \"443-80\" is not a port or a range of ports, such as 443 or 1024-65535",
        ),
        (
            "[security]\nproxy = \"https://user:sesame@proxy\"",
            "security.proxy: must be http://user:password@host:port or socks5://user:password@host:port, with what has \
             a meaning in a URL percent-encoded in user and password",
        ),
        (
            "[security]\nallow_names = [\"*\"]",
            "security.allow_names[0]: \"*\" is not a name, such as receiver, hooks.corp.example or *.corp.example; \
             names of other letters are written as the DNS has them, xn--…",
        ),
        ("[tracing]\nsample_ratio = 2", "tracing.sample_ratio: must be from 0 to 1"),
        (
            "[tracing]\notlp_endpoint = \"collector:4318\"",
            "tracing.otlp_endpoint: must be http://host:port or https://host:port",
        ),
        ("[security]\nports = []", "security.ports: must have at least one port"),
        (
            "[security]\nnat64_prefixes = [\"2a00::/33\"]",
            "security.nat64_prefixes: every prefix must have a length of 32, 40, 48, 56, 64 or 96",
        ),
        ("[security]\nencryption_key = \"short\"", "security.encryption_key: must be the base64 of 32 bytes"),
    ] {
        assert_eq!(load(file, &[], &[]).unwrap_err(), message);
    }
    let error = load("x", &[], &[]).unwrap_err();
    assert!(error.starts_with("k.toml: line 1: ") && !error.contains('\n'), "{error}");
    let error = load("", &[("K_WEBHOOKS__RETRY__JITER", "0")], &[]).unwrap_err();
    assert_eq!(error, "K_WEBHOOKS__RETRY__JITER: unknown key retry.jiter; the nearest is retry.jitter");
}

#[test]
fn production_refuses_what_is_not_safe() {
    let base = "mode = \"production\"\n[security]\nencryption_key = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"\n";
    let config = load(base, &[], &[]).unwrap();
    assert!(!config.http_allowed() && config.allowed_networks().is_empty());
    let error = load(&format!("{base}allow_http = true"), &[], &[]).unwrap_err();
    assert_eq!(error, "security.allow_http: production delivers over https only");
    let error = load(&format!("{base}[test_clock]\nenabled = true"), &[], &[]).unwrap_err();
    assert_eq!(error, "test_clock.enabled: production runs on the system's clock");
    for network in ["0.0.0.0/0", "::/0"] {
        let error = load(&format!("{base}allow_networks = [\"{network}\"]"), &[], &[]).unwrap_err();
        assert_eq!(
            error,
            "security.allow_networks: production does not allow every address; name the networks"
        );
    }
    let bootstrap = |length: usize| {
        load(&format!("{base}[internal]\nbootstrap_key = \"{}\"", "x".repeat(length)), &[], &[])
    };
    assert_eq!(bootstrap(31).unwrap_err(), "internal.bootstrap_key: production needs at least 32 characters");
    bootstrap(32).unwrap();
}
