//! Keys and their text.

use super::*;
use crate::zeromq::curve::boxes::{SharedKey, TAG};

/// A pair of keys of libzmq's documentation (`zmq_curve_keypair`).
const PUBLIC: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
const SECRET: &str = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";

#[test]
fn keys_of_libzmq_are_read_and_written() {
    let secret: SecretKey = SECRET.parse().unwrap();
    assert_eq!(secret.public_key(), PUBLIC.parse().unwrap());
    assert_eq!(secret.public_key().to_string(), PUBLIC);
    assert_eq!(secret.expose_z85(), SECRET);
}

#[test]
fn white_space_is_accepted_at_the_end_only() {
    for end in ["\n", "\r\n", " \t\n\n"] {
        assert_eq!(format!("{PUBLIC}{end}").parse::<PublicKey>().unwrap().to_string(), PUBLIC);
        assert_eq!(format!("{SECRET}{end}").parse::<SecretKey>().unwrap().expose_z85(), SECRET);
    }
    assert_eq!(format!("\n{PUBLIC}").parse::<PublicKey>(), Err(InvalidKey::Length(41)));
    let split = format!("{} {}", &PUBLIC[..20], &PUBLIC[21..]);
    assert_eq!(split.parse::<PublicKey>(), Err(InvalidKey::Character { position: 21 }));
}

#[test]
fn errors_name_the_length_or_the_position_and_no_part_of_a_secret() {
    let changed =
        |position: usize, letter: &str| format!("{}{letter}{}", &SECRET[..position - 1], &SECRET[position..]);
    let cases = [
        (SECRET[1..].to_owned(), "it has 39 bytes"),
        (format!("{SECRET}{SECRET}"), "it has 80 bytes"),
        (String::new(), "it has 0 bytes"),
        (format!("{}ü", &SECRET[1..]), "it has 41 bytes"),
        (changed(40, "~"), "character 40 is not a character of Z85"),
        (changed(7, "\u{0}"), "character 7 is not a character of Z85"),
        (format!("#####{}", &SECRET[5..]), "the five characters before position 6 are out of range"),
    ];
    for (text, expected) in cases {
        let error = text.parse::<SecretKey>().unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("expected 40 characters of Z85"), "{error}");
        assert!(
            !text.as_bytes().windows(4).any(|part| error.as_bytes().windows(4).any(|other| other == part)),
            "{error}"
        );
    }
}

#[test]
fn debug_output_hides_secret_keys() {
    let pair = KeyPair::from(SECRET.parse::<SecretKey>().unwrap());
    let (client, _) = client();
    for text in [format!("{pair:?}"), format!("{client:?}"), format!("{:?}", server())] {
        assert!(text.contains("SecretKey(..)") && !text.contains("cookie"), "{text}");
        assert!(!text.contains(SECRET) && !text.contains(&keys(CLIENT).secret().expose_z85()), "{text}");
    }
    assert!(format!("{pair:?}").contains(PUBLIC));
}

#[test]
fn generated_keys_differ_and_are_valid() {
    let (one, two) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    assert_ne!(one.public(), two.public());
    assert_eq!(one.public().to_string().parse(), Ok(*one.public()));
    assert_eq!(one.secret().public_key(), *one.public());
}

/// The seven numbers of libsodium's list, which ignores the highest bit.
fn low_order() -> Vec<[u8; 32]> {
    let number = |first: u8, middle: u8, last: u8| {
        let mut bytes = [middle; 32];
        (bytes[0], bytes[31]) = (first, last);
        bytes
    };
    let order_8 = [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ];
    let order_8 =
        order_8.map(|text| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap());
    let p = |first| number(first, 0xff, 0x7f);
    let mut points =
        vec![number(0, 0, 0), number(1, 0, 0), order_8[0], order_8[1], p(0xec), p(0xed), p(0xee)];
    for point in points.clone() {
        let mut high_bit = point;
        high_bit[31] |= 0x80;
        points.push(high_bit);
    }
    points
}

/// `crypto_box` accepts these points, and the shared key does not depend on the secret. libsodium refuses them.
#[test]
fn points_of_a_low_order_share_no_secret_and_are_refused() {
    let sealed = |public: [u8; 32], secret: u8| {
        let public = crypto_box::PublicKey::from_bytes(public);
        let secret = crypto_box::SecretKey::from_bytes([secret; 32]);
        let key = crypto_box::SalsaBox::new(&public, &secret);
        let mut text = [0; 32];
        crypto_box::aead::AeadInPlace::encrypt_in_place_detached(&key, &[0; 24].into(), b"", &mut text)
            .unwrap();
        text
    };
    for point in low_order() {
        assert_eq!(sealed(point, 1), sealed([0; 32], 2), "everybody knows the key for {point:?}");
        assert_eq!(PublicKey::from_bytes(point), Err(InvalidKey::Point), "{point:?}");
    }
    assert_eq!("0000000000000000000000000000000000000000".parse::<PublicKey>(), Err(InvalidKey::Point));
}

#[test]
fn another_encoding_of_a_key_is_refused() {
    let mut bytes = *keys(CLIENT).public().as_bytes();
    bytes[31] |= 0x80;
    assert_eq!(PublicKey::from_bytes(bytes), Err(InvalidKey::Point));
    // 2^255 - 19 + 9 is the base point.
    let mut bytes = [0xff; 32];
    (bytes[0], bytes[31]) = (0xf6, 0x7f);
    assert_eq!(PublicKey::from_bytes(bytes), Err(InvalidKey::Point));
    let mut base = [0; 32];
    base[0] = 9;
    assert!(PublicKey::from_bytes(base).is_ok());
}

#[test]
fn a_box_is_opened_by_its_two_owners_only() {
    let seal = |public: u8, secret: u8| {
        let mut text = [0_u8; TAG + 4];
        SharedKey::new(keys(public).public(), keys(secret).secret()).seal(&[9; 24], &mut text).unwrap();
        text
    };
    let open = |public: u8, secret: u8, nonce: u8| {
        let key = SharedKey::new(keys(public).public(), keys(secret).secret());
        key.open(&[nonce; 24], &mut seal(CLIENT, SERVER)).map(|text| text.to_vec())
    };
    assert_eq!(open(SERVER, CLIENT, 9), Some(vec![0; 4]));
    assert_eq!(open(CLIENT, SERVER, 9), Some(vec![0; 4]));
    assert_eq!(open(SERVER, CLIENT, 8), None);
    assert_eq!(open(SERVER, SERVER, 9), None);
}

#[test]
fn allowed_clients_have_one_name_for_each_key() {
    let mut clients = AllowedClients::default();
    assert_eq!(clients.insert(*keys(CLIENT).public(), "a"), None);
    assert_eq!(clients.insert(*keys(CLIENT).public(), "b").as_deref(), Some("a"));
    assert_eq!(clients.name(keys(CLIENT).public()).map(|name| &**name), Some("b"));
    assert_eq!(clients.name(keys(SERVER).public()), None);
}
