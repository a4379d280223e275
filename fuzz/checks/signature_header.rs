//! The header of a signature, as a receiver gets it. The input is the header up to the first line break, then the body.

use k_webhooks::signature::{SigningSecret, TOLERANCE, VerifyError, sign_header, verify};

const NOW: i64 = 1_749_651_729;

pub(crate) fn check(data: &[u8]) {
    let secret =
        SigningSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").expect("a secret");
    let (header, body) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    let header = String::from_utf8_lossy(header);
    let verdict = verify(&header, body, &secret, NOW, TOLERANCE);

    let signed = sign_header(&[&secret], NOW, body);
    if verdict.is_ok() {
        // Nothing but the signature of this body at the time that is named will do.
        let time = header.split(',').find_map(|part| part.trim().strip_prefix("t=")).expect("a time");
        if let Some(seconds) = time.parse::<i64>().ok().filter(|seconds| seconds.to_string() == time) {
            let signed = sign_header(&[&secret], seconds, body);
            let (_, signature) = signed.split_once("v1=").expect("a signature");
            assert!(header.to_ascii_lowercase().contains(signature), "{header}");
        }
    }

    // What the service writes holds, for this body alone, and whatever unknown schemes stand beside it.
    assert_eq!(verify(&signed, body, &secret, NOW, TOLERANCE), Ok(()));
    let altered = [body, b"x"].concat();
    assert_eq!(verify(&signed, &altered, &secret, NOW, TOLERANCE), Err(VerifyError::NoMatchingSignature));
    let unknown =
        |part: &str| part.trim().split_once('=').is_some_and(|(scheme, _)| scheme != "t" && scheme != "v1");
    if header.split(',').all(unknown) {
        assert_eq!(verify(&format!("{header},{signed}"), body, &secret, NOW, TOLERANCE), Ok(()));
    }
}
