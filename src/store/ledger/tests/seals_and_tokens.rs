//! Seals, and the tokens that change with a seal.

use crate::store::ledger::tests::{World, consume_of, core, seal, seal_write, t};
use crate::store::stored_leaf::WriteStop;
use crate::store::stored_run::ConsumeStop;
use crate::store::stored_seal::SealWrite;
use crate::store::stored_token::{Token, TokenChange};
use documents::crypto::digest::{BlobDigest, SealDigest};
use documents::record::ident::Name;
use documents::record::token::Scope;

#[tokio::test]
async fn tokens_change_only_with_a_new_seal_and_a_token_name_is_never_reused() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let name: Name = "ci".parse().expect("name");
        let token = Token {
            name: name.clone(),
            secret: [7; 32],
            owners: vec!["alice".parse().expect("name")],
            scopes: vec![Scope::Propose, Scope::Read],
            patterns: vec!["web:*".to_owned()],
            created_at: t(0),
            expires_at: Some(t(9)),
            revoked_at: None,
        };
        let add = TokenChange::Add(token.clone());
        let sealed = SealWrite { tokens: vec![add.clone()], ..seal_write(&ledger, 2) };
        ledger.seal(sealed).await.expect("seal");
        assert_eq!(ledger.token(&[7; 32]), Ok(Some(token.clone())));
        assert!(!format!("{token:?}").contains("7, 7"), "the hash of a secret is not printed");
        let revoke = TokenChange::Revoke { name: name.clone(), at: t(5) };
        ledger.seal(SealWrite { tokens: vec![revoke], ..seal_write(&ledger, 3) }).await.expect("seal");
        assert_eq!(ledger.tokens().expect("read")[0].revoked_at, Some(t(5)));
        let other = TokenChange::Add(Token { name: "b".parse().expect("name"), secret: [8; 32], ..token });
        for tokens in [vec![other.clone(), add], vec![other.clone(), other]] {
            let before = ledger.state();
            let stop = ledger.seal(SealWrite { tokens, ..seal_write(&ledger, 4) }).await;
            assert!(matches!(stop, Err(WriteStop::Token(_))), "{stop:?}");
            assert_eq!((ledger.state(), ledger.tokens().expect("read").len()), (before, 1), "nothing half done");
        }
        let nobody = TokenChange::Revoke { name: "nobody".parse().expect("name"), at: t(5) };
        let stop = ledger.seal(SealWrite { tokens: vec![nobody], ..seal_write(&ledger, 4) }).await;
        assert!(matches!(stop, Err(WriteStop::Token(_))));
    }
}

#[tokio::test]
async fn each_seal_names_the_previous_seal_and_the_digest_of_the_first_seal_is_the_boundary_id() {
    for world in World::on_each_engine() {
        let ledger = world.open();
        assert_eq!(ledger.consume(consume_of(&ledger, core(1))).await, Err(ConsumeStop::NoSeal));
        assert_eq!(ledger.refuse(b"no".to_vec(), t(0)).await, Err(WriteStop::NoSeal));
        assert_eq!((ledger.checkpoint(), ledger.origin()), (Ok(None), None));
        let before = ledger.checked_state();
        let sealed = seal(&ledger, 1).await.expect("seal");
        assert_eq!((sealed.leaf.index, ledger.state().boundary), (0, Some(SealDigest::of(&[1]))));
        let fork = SealWrite { checked: before, ..seal_write(&ledger, 2) };
        assert_eq!(ledger.seal(fork).await, Err(WriteStop::Moved));
        let large = SealWrite { envelope: vec![0; 65_536], ..seal_write(&ledger, 2) };
        assert_eq!(ledger.seal(large).await, Err(WriteStop::TooLarge { bytes: 65_536 }));
        seal(&ledger, 2).await.expect("seal");
        assert_eq!(ledger.state().boundary, Some(SealDigest::of(&[1])));
        let seals: Vec<_> = ledger.seals().expect("read").into_iter().map(|seal| (seal.index, seal.digest)).collect();
        assert_eq!(seals, [(0, SealDigest::of(&[1])), (1, SealDigest::of(&[2]))]);
        assert_eq!(ledger.blob(&BlobDigest::of(&[2])), Ok(Some(vec![2])));
    }
}
