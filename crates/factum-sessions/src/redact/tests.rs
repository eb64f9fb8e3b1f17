use super::*;

/// Secrets of every kind, none of them real, each in a text as it is met. `@` stands for the
/// secret.
const TEXTS: &[(&str, &str)] = &[
    ("AKIAIOSFODNN7EXAMPLE", "aws s3 ls --profile @"),
    (
        "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYab",
        "aws configure set aws_secret_access_key @",
    ),
    (
        "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYab",
        "export AWS_SECRET_ACCESS_KEY=@ && ls",
    ),
    (
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "git push https://x-access-token:@@github.example/a",
    ),
    (
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "gh auth login --with-token <<< @",
    ),
    (
        "github_pat_11ABCDEFG0abcdefghijkl_ABCDEF",
        "echo @ | gh auth login",
    ),
    (
        "glpat-abcDEF123456ghiJKL78",
        "curl -H 'PRIVATE-TOKEN: @' https://gitlab.example",
    ),
    ("xoxb-2415-987654321-AbCdEfGhIjKl", "slack --bot @"),
    (
        "T00/B00/XXXXXXXXXXXXXXXXXXXXXXXX",
        "curl https://hooks.slack.com/services/@ -d x",
    ),
    ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "stripe listen with @"),
    ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "verify with @"),
    ("sk-ant-api03-AbCdEfGhIjKlMnOpQrStUv", "the model key is @."),
    ("sk-proj-AbCdEfGhIjKlMnOpQrStUvWx", "OPENAI uses @"),
    (
        "AIzaSyA1234567890abcdefghijklmnopqrstu",
        "https://maps.example/api?key=@&x=1",
    ),
    (
        "npm_abcdefghijklmnopqrstuvwxyz0123456789",
        "//registry.example/:_authToken=@",
    ),
    ("hf_abcdefghijklmnopqrstuvwx", "huggingface-cli login @"),
    (
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "session @ ended",
    ),
    (
        "mF_9.B5f-4.1JqM",
        "curl -H 'Authorization: Bearer @' https://a.example",
    ),
    ("mF_9.B5f-4.1JqM", "use bearer @ now"),
    (
        "QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        "curl -H \"Authorization: Basic @\" x",
    ),
    (
        "hunter2hunter2",
        "git clone https://ann:@@git.example/x.git",
    ),
    (
        "p%40ss-word",
        "psql postgresql://app:@@db.example:5432/shop",
    ),
    (
        "S3cretAccountKey==",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=@;EndpointSuffix=x",
    ),
    (
        "s3cr3t!",
        "Server=db;Database=shop;User Id=app;Password=@;Encrypt=true",
    ),
    ("hunter2hunter2", "PGPASSWORD=@ psql -h db"),
    ("hunter2 hunter2", "DB_PASSWORD=\"@\" ./run"),
    ("hunter2hunter2", "API_KEY='@' ./run"),
    ("hunter2hunter2", "deploy --password @ --dry-run"),
    ("hunter2hunter2", "deploy --api-key=@"),
    ("hunter2 hunter2", "deploy --client-secret \"@\""),
    ("hunter2hunter2", "mysql -u root -p@ shop"),
    ("hunter2hunter2", "sshpass -p @ ssh host"),
    (
        "hunter2hunter2",
        "docker login -u ann -p @ registry.example",
    ),
    ("hunter2hunter2", "redis-cli -h cache -a @ ping"),
    ("hunter2hunter2", "curl -u ann:@ https://a.example"),
    (
        "hunter2hunter2",
        "curl -d '{\"user\":\"ann\",\"password\":\"@\"}' https://a.example",
    ),
    ("hunter2hunter2", r#"{\"clientSecret\": \"@\", \"a\": 1}"#),
    ("hunter2hunter2", "password: @"),
    ("hunter2hunter2", "GET /login?token=@&next=/ HTTP/1.1"),
    ("sid=31d4d96e407aad42; theme=dark", "Cookie: @"),
    ("sid=31d4d96e407aad42", "curl -b '@' https://a.example"),
    ("sid=31d4d96e407aad42; HttpOnly", "Set-Cookie: @"),
    (
        "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1",
        "https://api.telegram.example/bot/@/x",
    ),
    ("hvs.CAESIJ1234567890abcdefgh", "vault with @"),
    ("fct_a1b2c3d4_0123456789abcdef0123", "factum tail --key @"),
    (
        "c2lnbmF0dXJlLW9mLWEtdXJs",
        "https://blob.example/x?sv=1&sig=@",
    ),
];

const PEM: &str =
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAv0\nq3Zt9w==\n-----END RSA PRIVATE KEY-----";

#[test]
fn secrets_in_texts_are_taken_out() {
    let redactor = Redactor::shipped();
    for (secret, text) in TEXTS {
        let given = text.replace("@@", "\u{1}@").replacen('@', secret, 1);
        let given = given.replace(&format!("\u{1}{secret}"), &format!("{secret}@"));
        let cleaned = redactor.text(&given);
        assert!(!cleaned.contains(secret), "{given}\n{cleaned}");
        assert!(cleaned.contains("[redacted:"), "{given}\n{cleaned}");
        let again = redactor.text(&cleaned);
        assert_eq!(again, cleaned, "what is clean stays as it is");
    }
}

#[test]
fn a_private_key_is_taken_out_also_without_its_end() {
    let redactor = Redactor::shipped();
    for text in [PEM, PEM.split("-----END").next().unwrap()] {
        let cleaned = redactor.text(text);
        assert_eq!(cleaned, "[redacted:private_key]");
    }
    let kept = redactor.text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----");
    assert!(kept.contains("MIIB"));
}

#[test]
fn what_is_no_secret_stays() {
    let redactor = Redactor::shipped();
    for text in [
        "",
        "cargo nextest run -p shop",
        "git commit -m 'Accept passkeys'",
        "tokens_used is 164000 of 200000",
        "see https://git.example/shop/pull/17#discussion",
        "https://registry.example:4873/@scope/package",
        "commit 9f3c2ab4be1f009f3c2ab4be1f009f3c2ab4be1f",
        "mail ann@shop.example",
        "the password has to be changed",
        "src/token.rs:12: expected `;`",
        "docker run -p 8080:80 shop",
        "019aa6f0-4a00-7000-8000-000000000001",
        "bypass=true",
    ] {
        assert_eq!(redactor.text(text), text);
    }
}

fn check(document: &str, expected: &str) {
    let document = JsonObject::parse(document.to_owned()).unwrap();
    let redacted = Redactor::shipped().document(&document).unwrap();
    assert_eq!(redacted.document.as_str(), expected);
    assert_eq!(redacted.n_replaced == 0, document == redacted.document);
}

#[test]
fn documents_are_clean_at_every_level_and_else_as_they_came() {
    let plain = r#"{ "n": 1.50, "big": 123456789012345678901234567890, "tokens_used": 5, "pass": 12, "x":[ 1, {"a":"\u00e9"} ] }"#;
    check(plain, plain);
    check(
        r#"{"a":{"password":"x","n":1.50},"apiKey":"y"}"#,
        r#"{"a":{"password":"[redacted:named_value]","n":1.50},"apiKey":"[redacted:named_value]"}"#,
    );
    check(
        r#"{"env":{"AWS_SECRET_ACCESS_KEY":"x"},"pin":1234,"ok":true}"#,
        r#"{"env":{"AWS_SECRET_ACCESS_KEY":"[redacted:named_value]"},"pin":"[redacted:named_value]","ok":true}"#,
    );
    check(
        r#"{"credentials":{"user":"ann","list":["a",{"b":"c"}],"n":null}}"#,
        r#"{"credentials":{"user":"[redacted:named_value]","list":["[redacted:named_value]",{"b":"[redacted:named_value]"}],"n":null}}"#,
    );
    check(
        r#"{"argv":["deploy","--password","x","--to","y"]}"#,
        r#"{"argv":["deploy","--password","[redacted:named_value]","--to","y"]}"#,
    );
    check(
        r#"{"out":"line\nPASSWORD=abc\n","ghp_16C7e42F292c6912E7710c838347Ae178B4a":1}"#,
        r#"{"out":"line\nPASSWORD=[redacted:assigned_secret]\n","[redacted:github_token]":1}"#,
    );
}

#[test]
fn two_secrets_in_keys_are_refused_rather_than_merged() {
    let document = r#"{"ghp_16C7e42F292c6912E7710c838347Ae178B4a":1,"ghp_26C7e42F292c6912E7710c838347Ae178B4a":2}"#;
    let document = JsonObject::parse(document.to_owned()).unwrap();
    assert!(Redactor::shipped().document(&document).is_err());
}

#[test]
fn an_operator_may_bring_other_rules() {
    let rules = "keys = [\"badge\"]\n[[text]]\nkind = \"badge\"\nregex = 'B-([0-9]{4})'\n";
    let redactor = Redactor::from_toml(rules).unwrap();
    assert_eq!(redactor.text("see B-1234"), "see B-[redacted:badge]");
    assert_eq!(redactor.text("password=x"), "password=x");
    assert!(Redactor::from_toml("[[text]]\nkind = \"x\"\nregex = '('\n").is_err());
    assert!(Redactor::from_toml("other = 1").is_err());
    assert!(Redactor::from_toml("[[text]]\nkind = \"x\"\nregex = '(?:a{1000}){1000}'\n").is_err());
}

#[test]
fn the_shipped_rules_are_read() {
    let redactor = Redactor::from_toml(include_str!("shipped.toml")).unwrap();
    assert!(redactor.texts.len() > 20);
    let redactor = Redactor::everything();
    let document = JsonObject::parse(r#"{"a":"b"}"#).unwrap();
    assert_eq!(redactor.document(&document).unwrap().n_replaced, 1);
}
