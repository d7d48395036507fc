//! Base64.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// Appends the bytes that base64 text spells: either alphabet but not both mixed, padded or not, line
/// breaks and blanks anywhere. False when it is not base64; `out` may then hold the beginning.
pub(crate) fn base64_into(text: &str, out: &mut Vec<u8>) -> bool {
    let url_safe = text.bytes().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = if url_safe { &BASE64_URL } else { &BASE64 };
    if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        let dense: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        engine.decode_vec(dense, out).is_ok()
    } else {
        engine.decode_vec(text, out).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        base64_into(text, &mut out).then_some(out)
    }

    #[test]
    fn spellings() {
        for text in ["+/8=", "+/8", "-_8=", "-_8", " +/\r\n8= "] {
            assert_eq!(decode(text), Some(vec![0xfb, 0xff]), "{text}");
        }
        assert_eq!(decode("YQ="), Some(vec![b'a']));
        assert_eq!(decode(""), Some(vec![]));
        for text in ["+_8=", "a", "====", "YQ=a", "é", "YQ==YQ=="] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn bytes_survive(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&BASE64.encode(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(decode(&BASE64_URL.encode(&bytes)), Some(bytes));
        }
    }
}
