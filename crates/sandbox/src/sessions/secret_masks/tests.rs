use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use proptest::prelude::*;

use super::*;

fn masks(secrets: &[(&str, &[u8])]) -> Arc<SecretMasks> {
    let secrets: Vec<(SecretName, SecretValue)> = secrets
        .iter()
        .map(|(name, value)| {
            (
                name.parse().expect("a name"),
                SecretValue::new(value.to_vec().into()),
            )
        })
        .collect();
    Arc::new(SecretMasks::new(secrets.iter().map(|(name, value)| (name, value))).expect("a secret"))
}

/// Masks the chunks of a stream. Returns the output, the largest number of bytes that were held back, and the number of
/// redactions.
fn masked<'a>(
    masks: &Arc<SecretMasks>,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, usize, u64) {
    let (mut masker, mut out, mut most) = (StreamMasker::new(masks.clone()), Vec::new(), 0);
    for chunk in chunks {
        masker.push(chunk, &mut out);
        most = most.max(masker.held.len());
    }
    masker.finish(&mut out);
    assert!(masker.held.is_empty(), "nothing is held after the end");
    (out, most, masker.redactions())
}

fn text(masks: &Arc<SecretMasks>, output: &str) -> String {
    String::from_utf8(masked(masks, [output.as_bytes()]).0).expect("text")
}

fn wrapped(text: &str, width: usize, end: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    chars
        .chunks(width)
        .map(|line| line.iter().collect::<String>())
        .collect::<Vec<_>>()
        .join(end)
}

fn percent(bytes: &[u8], upper: bool, plus: bool) -> String {
    let one = |byte: &u8| match byte {
        b' ' if plus => "+".to_owned(),
        byte if byte.is_ascii_alphanumeric() => (*byte as char).to_string(),
        byte if upper => format!("%{byte:02X}"),
        byte => format!("%{byte:02x}"),
    };
    bytes.iter().map(one).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the bytes that a form of `secret` consists of, in the middle of other data.
fn form(secret: &[u8], number: usize) -> Vec<u8> {
    let inside =
        |before: &[u8], engine: &dyn Fn(&[u8]) -> String| engine(&[before, secret, b"~~"].concat());
    match number {
        0 => secret.to_vec(),
        1 => STANDARD.encode(secret).into(),
        2 => URL_SAFE_NO_PAD.encode(secret).into(),
        3 => wrapped(&STANDARD.encode(secret), 5, "\n").into(),
        4 => wrapped(&STANDARD_NO_PAD.encode(secret), 7, "\r\n    ").into(),
        5 => inside(b"x", &|bytes| STANDARD.encode(bytes)).into(),
        6 => inside(b"xy", &|bytes| URL_SAFE.encode(bytes)).into(),
        7 => wrapped(&inside(b"xyzx", &|bytes| STANDARD.encode(bytes)), 11, "\n").into(),
        8 => percent(secret, true, false).into(),
        9 => percent(secret, false, true).into(),
        10 => serde_json::to_string(&String::from_utf8_lossy(secret))
            .expect("JSON")
            .into(),
        11 => hex(secret).to_uppercase().into(),
        12 => wrapped(&hex(secret), 2, ":").into(),
        13 => String::from_utf8_lossy(secret)
            .encode_utf16()
            .map(|unit| format!("\\u{unit:04X}"))
            .collect::<String>()
            .into(),
        number => panic!("there is no form {number}"),
    }
}
const FORMS: usize = 14;

#[test]
fn a_secret_is_replaced_by_its_name_in_every_form() {
    let secret = b"p4ss/w\xc3\xb6rd? +&\"\\<end>";
    let masks = masks(&[("db", secret)]);
    for number in 0..FORMS {
        let form = form(secret, number);
        let (out, _, redactions) = masked(&masks, [&b"before ("[..], &form, b") after"]);
        let out = String::from_utf8_lossy(&out).into_owned();
        assert!(
            out.starts_with("before (") && out.ends_with(") after"),
            "{number}: {out}"
        );
        assert!(out.contains("[secret db]"), "{number}: {out}");
        assert_eq!(redactions, 1, "{number}: {out}");
        assert!(
            out.len() <= "before ([secret db]) after".len() + 14,
            "{number}: nearly nothing is left: {out}"
        );
        assert!(masks.contains(&form), "{number}");
    }
    assert!(!masks.contains(b"p4ss/w\xc3\xb6rd? +&\"\\<en"));
}

#[test]
fn the_digits_at_both_ends_of_a_secret_in_base64_are_replaced_too() {
    let masks = masks(&[("db", b"hunter2-hunter2")]);
    // The digits that contain bits of the secret are replaced, and the other digits stay.
    for (around, expected) in [
        (["x", "y"], "e[secret db]k="),
        (["xx", ""], "eH[secret db]="),
        (["", "z"], "[secret db]eg=="),
    ] {
        let all = STANDARD.encode(format!("{}hunter2-hunter2{}", around[0], around[1]));
        assert_eq!(text(&masks, &all), expected, "{all}");
    }
}

#[test]
fn each_line_of_a_secret_is_replaced_also_with_other_line_ends() {
    let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqh\nab\n  kiG9w0BAQEF\n-----END KEY-----";
    let masks = masks(&[("tls", key.as_bytes())]);
    assert_eq!(text(&masks, &format!("{key}\n")), "[secret tls]\n");
    assert_eq!(
        text(&masks, &format!("{}\r\n", key.replace('\n', "\r\n"))),
        "[secret tls]\r\n"
    );
    assert_eq!(
        text(&masks, "1: MIIEvQIBADANBgkqh\n2: ab\n3: kiG9w0BAQEF\n"),
        "1: [secret tls]\n2: ab\n3: [secret tls]\n"
    );
    assert_eq!(
        text(&masks, &STANDARD.encode("kiG9w0BAQEF")),
        "[secret tls]="
    );
}

#[test]
fn a_label_never_contains_a_secret() {
    let masks = masks(&[("db", b"secret"), ("password-of-root", b"root-of-all")]);
    assert_eq!(text(&masks, "my secret: root-of-all"), "my [***]: [***]");
}

#[test]
fn text_that_begins_like_a_secret_is_held_until_it_is_decided() {
    let masks = masks(&[("db", b"aaaaaab")]);
    let (mut masker, mut out) = (StreamMasker::new(masks), Vec::new());
    masker.push(b"xaaaa", &mut out);
    assert_eq!(out, b"x");
    masker.push(b"aaaa", &mut out);
    assert_eq!(out, b"xaa", "only the last bytes may begin the secret");
    masker.push(b"b\n", &mut out);
    assert_eq!(out, b"xaa[secret db]\n");
    masker.push(b"aaa", &mut out);
    masker.finish(&mut out);
    assert_eq!(
        (&out[..], masker.redactions()),
        (&b"xaa[secret db]\naaa"[..], 1)
    );
}

#[test]
fn two_overlapping_secrets_leave_no_part_of_either() {
    let masks = masks(&[
        ("one", b"abcdefgh"),
        ("two", b"efghijkl"),
        ("inner", b"bcdefg"),
    ]);
    assert_eq!(text(&masks, "<abcdefghijkl>"), "<[secret one]>");
    assert_eq!(
        text(&masks, "<abcdefghabcdefgh>"),
        "<[secret one][secret one]>"
    );
    assert_eq!(text(&masks, "<abcdefg>"), "<a[secret inner]>");
}

fn secret() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), MIN_MASKED..80),
        "[a-z]{6,20}".prop_map(String::into_bytes),
        "[ -~äß€𝄞]{6,60}".prop_map(String::into_bytes),
        "([A-Za-z0-9+/=]{6,20}\n){1,5}[A-Za-z]{6,9}".prop_map(String::into_bytes),
        "[ab]{6,30}".prop_map(String::into_bytes),
    ]
}

fn cut<'a>(mut bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for cut in cuts
        .iter()
        .cycle()
        .take(if cuts.is_empty() { 0 } else { bytes.len() })
    {
        let (chunk, rest) = bytes.split_at((*cut).min(bytes.len()));
        chunks.push(chunk);
        bytes = rest;
    }
    chunks.push(bytes);
    chunks
}

/// The longest form of a text: each half byte with a line break before it.
fn longest_form(secret: &[u8]) -> usize {
    (2 * secret.len() + 2) * (1 + usize::from(secret_forms::MAX_BREAK)) + 12
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_form_of_a_secret_passes_in_any_chunks(
        secret in secret(),
        number in 0..FORMS,
        around in prop::collection::vec(any::<u8>(), 0..30),
        cuts in prop::collection::vec(1_usize..9, 0..6),
    ) {
        let is_text = std::str::from_utf8(&secret).is_ok();
        prop_assume!(is_text || ![10, 13].contains(&number));
        let masks = masks(&[("db", &secret)]);
        prop_assume!(!masks.contains(&around));
        let printed = form(&secret, number);
        // The bytes around the form are no digits, so that the form has the expected place in its group.
        let all = [&around[..], b"(", &printed, b")", &around].concat();
        let (out, held, redactions) = masked(&masks, cut(&all, &cuts));
        prop_assert!(!masks.contains(&out), "{:?}", String::from_utf8_lossy(&out));
        prop_assert!(redactions >= 1);
        prop_assert!(!out.windows(printed.len()).any(|part| part == printed));
        prop_assert!(held <= longest_form(&secret), "{held} bytes are held");
    }

    #[test]
    fn text_without_a_secret_is_unchanged(
        secret in secret(),
        output in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "[ab\\\\%u0-9A-Fx\n\r +=/]{0,300}".prop_map(String::into_bytes),
        ],
        cuts in prop::collection::vec(1_usize..9, 0..6),
    ) {
        let masks = masks(&[("db", &secret)]);
        prop_assume!(!masks.contains(&output));
        let (out, held, redactions) = masked(&masks, cut(&output, &cuts));
        prop_assert_eq!((out, redactions), (output, 0));
        prop_assert!(held <= longest_form(&secret));
    }
}

#[test]
fn output_with_many_beginnings_of_a_secret_takes_linear_time() {
    let secret = vec![b'a'; 16 << 10];
    let masks = masks(&[("db", &[&secret[..], b"b"].concat())]);
    let output = vec![b'a'; 200_000];
    let (out, held, redactions) = masked(&masks, output.chunks(4096));
    assert_eq!((out.len(), redactions), (output.len(), 0));
    assert!(held <= 3 * secret.len() + 4096, "{held}");
}
