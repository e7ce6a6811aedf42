//! Seals, and the tokens that change with a seal.

use std::sync::atomic::Ordering::SeqCst;

use crate::{
    ConsumeStop, IdTokenUse, NewProposal, SealWrite, Token, TokenChange, WriteStop,
    ledger::tests::{T0, World, consume_of, core, new_proposal, seal, seal_write, t},
};
use documents::{BlobDigest, ContentDigest, Name, OidcBinding, Scope, SealDigest, SealedToken};

#[tokio::test]
async fn tokens_change_only_with_a_new_seal_and_a_token_name_is_never_reused() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let name: Name = "ci".parse().expect("name");
        let token = Token {
            token: SealedToken {
                name: name.clone(),
                owners: vec!["alice".parse().expect("name")],
                scopes: vec![Scope::Propose, Scope::Read],
                patterns: vec!["web:*".to_owned()],
                expires_at: Some(t(9)),
                credential: ContentDigest::of(&[7; 32]),
                oidc: None,
            },
            jwks: None,
            ca: None,
            created_at: t(0),
            revoked_at: None,
        };
        let add = TokenChange::Add(Box::new(token.clone()));
        let sealed = SealWrite {
            tokens: vec![add.clone()],
            ..seal_write(&ledger, 2)
        };
        ledger.seal(sealed).await.expect("seal");
        assert_eq!(
            ledger.tokens().expect("read")[..],
            *std::slice::from_ref(&token)
        );
        let revoke = TokenChange::Revoke {
            name: name.clone(),
            at: t(5),
        };
        ledger
            .seal(SealWrite {
                tokens: vec![revoke],
                ..seal_write(&ledger, 3)
            })
            .await
            .expect("seal");
        assert_eq!(
            ledger.reads().tokens().expect("read")[0].revoked_at,
            Some(t(5))
        );
        let other = TokenChange::Add(Box::new(Token {
            token: SealedToken {
                name: "b".parse().expect("name"),
                credential: ContentDigest::of(&[8; 32]),
                ..token.token
            },
            ..token
        }));
        for tokens in [vec![other.clone(), add], vec![other.clone(), other]] {
            let before = ledger.state();
            let stop = ledger
                .seal(SealWrite {
                    tokens,
                    ..seal_write(&ledger, 4)
                })
                .await;
            assert!(matches!(stop, Err(WriteStop::Token(_))), "{stop:?}");
            assert_eq!(
                (ledger.state(), ledger.reads().tokens().expect("read").len()),
                (before, 1),
                "nothing half done"
            );
        }
        // The row of a sealed token may be lost, and the token is then revoked all the same.
        let lost = TokenChange::Revoke {
            name: "lost".parse().expect("name"),
            at: t(5),
        };
        let stop = ledger
            .seal(SealWrite {
                tokens: vec![lost],
                ..seal_write(&ledger, 4)
            })
            .await;
        assert!(stop.is_ok(), "{stop:?}");
    }
}

#[tokio::test]
async fn each_seal_names_the_previous_seal_and_the_digest_of_the_first_seal_is_the_boundary_id() {
    for world in World::on_each_engine() {
        let ledger = world.open();
        assert_eq!(
            ledger.consume(consume_of(&ledger, core(1))).await,
            Err(ConsumeStop::NoSeal)
        );
        assert_eq!(
            ledger.refuse(b"no".to_vec(), t(0)).await,
            Err(WriteStop::NoSeal)
        );
        assert_eq!((ledger.checkpoint(), ledger.origin()), (Ok(None), None));
        let before = ledger.checked_state();
        let sealed = seal(&ledger, 1).await.expect("seal");
        assert_eq!(
            (sealed.index, ledger.state().boundary),
            (0, Some(SealDigest::of(&[1])))
        );
        let fork = SealWrite {
            checked: before,
            ..seal_write(&ledger, 2)
        };
        assert_eq!(ledger.seal(fork).await, Err(WriteStop::Moved));
        let large = SealWrite {
            envelope: vec![0; 65_536],
            ..seal_write(&ledger, 2)
        };
        assert_eq!(
            ledger.seal(large).await,
            Err(WriteStop::TooLarge { bytes: 65_536 })
        );
        seal(&ledger, 2).await.expect("seal");
        assert_eq!(ledger.state().boundary, Some(SealDigest::of(&[1])));
        let seals: Vec<_> = ledger
            .reads()
            .seals()
            .expect("read")
            .into_iter()
            .map(|seal| (seal.index, seal.digest))
            .collect();
        assert_eq!(
            seals,
            [(0, SealDigest::of(&[1])), (1, SealDigest::of(&[2]))]
        );
        assert_eq!(
            ledger.reads().blob(&BlobDigest::of(&[2])),
            Ok(Some(vec![2]))
        );
    }
}

#[tokio::test]
async fn an_id_token_opens_something_once_also_after_a_restart_and_a_step_back_of_the_clock() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        let used = |digest: u8, end: i64| IdTokenUse {
            digest: [digest; 32],
            expires_at: t(end),
        };
        assert_eq!(ledger.admit(used(1, 600)).await, Ok(true));
        assert_eq!(ledger.admit(used(1, 600)).await, Ok(false), "used before");
        assert_eq!(
            ledger.admit(used(2, 30)).await,
            Ok(true),
            "another ID token"
        );
        let (one, other) = tokio::join!(ledger.admit(used(3, 600)), ledger.admit(used(3, 600)));
        assert_eq!(
            [one, other]
                .iter()
                .filter(|done| **done == Ok(true))
                .count(),
            1,
            "at the same time"
        );
        ledger.close().await.expect("closed");
        let ledger = world.open_after_close().await;
        assert_eq!(
            ledger.admit(used(1, 600)).await,
            Ok(false),
            "after a restart"
        );
        world.clock.store(T0 + 100, SeqCst);
        world.boot.store(100, SeqCst);
        let _ = ledger.prune(10).await.expect("the low-water mark rises");
        assert_eq!(
            ledger.admit(used(4, 600)).await,
            Ok(true),
            "which deletes the note about 2"
        );
        world.clock.store(T0, SeqCst);
        assert_eq!(
            ledger.admit(used(2, 30)).await,
            Ok(false),
            "its end is not later than the low-water mark"
        );
        assert_eq!(ledger.admit(used(1, 600)).await, Ok(false));
    }
}

#[tokio::test]
async fn the_jobs_of_a_token_and_of_a_proposal_are_kept_on_each_engine() {
    for world in World::on_each_engine() {
        let ledger = world.sealed().await;
        assert_eq!(ledger.tokens().expect("read").len(), 0);
        let binding = OidcBinding {
            issuer: "https://i.example".to_owned(),
            claims: [("sub".to_owned(), "a".to_owned())].into(),
            bind: [("commit".to_owned(), "sha".to_owned())].into(),
            jwks: Some(ContentDigest::of(b"keys")),
            ca: Some(ContentDigest::of(b"authorities")),
        };
        let token = Token {
            token: SealedToken {
                name: "ci".parse().expect("name"),
                owners: Vec::new(),
                scopes: vec![Scope::Propose],
                patterns: Vec::new(),
                expires_at: None,
                credential: binding.credential().expect("a credential"),
                oidc: Some(binding),
            },
            jwks: Some("keys".to_owned()),
            ca: Some("authorities".to_owned()),
            created_at: t(0),
            revoked_at: None,
        };
        let add = TokenChange::Add(Box::new(token.clone()));
        ledger
            .seal(SealWrite {
                tokens: vec![add],
                ..seal_write(&ledger, 2)
            })
            .await
            .expect("seal");
        assert_eq!(ledger.tokens().expect("read")[..], [token]);
        let new = NewProposal {
            admitted: Some("{}".into()),
            ..new_proposal(1)
        };
        ledger.propose(new).await.expect("proposed");
        ledger.propose(new_proposal(2)).await.expect("proposed");
        assert_eq!(
            ledger.reads().admitted(&core(1).id),
            Ok(Some("{}".to_owned()))
        );
        assert_eq!(ledger.reads().admitted(&core(2).id), Ok(None));
    }
}
