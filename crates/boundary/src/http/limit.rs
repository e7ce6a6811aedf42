//! Rate limits with token buckets.
//!
//! The rate limits protect the service against too many calls, not against attempts to guess a secret, because a secret
//! has 256 random bits. The table of buckets has a maximum size. If all buckets are in use, new callers share one
//! bucket.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv4Addr},
    sync::Mutex,
    time::{Duration, Instant},
};

use crossing::{Refusal, RequestResult};
use documents::{Code, KeyId, Name, locked};

/// Rate limit for one kind of caller.
#[derive(Clone, Copy)]
pub struct RateLimit {
    /// Number of calls per second. The value 0 means no limit.
    pub per_second: u32,
    /// Number of calls that a full bucket allows immediately.
    pub burst: u32,
}

/// All rate limits.
#[derive(Clone, Copy)]
pub struct Rates {
    /// Limit for each token, and for each key that answered a challenge.
    pub principal: RateLimit,
    /// Limit for each address of callers without a token. All addresses of an IPv6 /64 network share one limit. All
    /// loopback addresses share another limit.
    pub peer: RateLimit,
    /// Limit for each key that signs. The key is charged for each new signature after the verification.
    pub key: RateLimit,
    /// Limit for each issuer of ID tokens. The issuer is charged for each ID token that fits a token, after the
    /// verification.
    pub issuer: RateLimit,
}

impl Rates {
    /// Derives all limits from the limit of one token in calls per second.
    pub fn of_calls(per_second: u64) -> Self {
        let rate = |part: u64| {
            let per_second = u32::try_from((per_second / part).max(1)).unwrap_or(u32::MAX);
            RateLimit {
                per_second,
                burst: per_second.saturating_mul(4),
            }
        };
        Self {
            principal: rate(1),
            peer: rate(10),
            key: rate(5),
            issuer: rate(5),
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self::of_calls(1000)
    }
}

/// Caller whose bucket is charged.
pub enum RateKey<'a> {
    /// A token, identified by its name.
    Principal(&'a Name),
    /// A caller without a token, identified by the address.
    Peer(IpAddr),
    /// A key that signs.
    Key(&'a KeyId),
    /// An issuer of ID tokens.
    Issuer(&'a str),
}

/// What happens to a bucket that has not enough calls.
#[derive(PartialEq)]
pub enum Shortage {
    /// The bucket stays as it is.
    Refused,
    /// The caller's next calls pay the missing amount, which is at most the cost of this call.
    Owed,
}

/// Cost of a failed authentication, as a number of calls.
pub const FAILED_AUTHENTICATION: u32 = 20;
/// Maximum number of buckets. All buckets together need about 2 MB of memory.
const MOST_BUCKETS: usize = 65_536;

pub struct RateLimiter {
    rates: Rates,
    began: Instant,
    hasher: RandomState,
    buckets: Mutex<HashMap<u64, Duration>>,
}

impl RateLimiter {
    pub fn new(rates: Rates, began: Instant) -> Self {
        Self {
            rates,
            began,
            hasher: RandomState::new(),
            buckets: Mutex::default(),
        }
    }

    /// Takes `cost` from the caller's bucket. The refusal states when the bucket has enough calls again.
    pub fn charge(&self, payer: RateKey<'_>, cost: u32, now: Instant) -> RequestResult {
        self.withdraw(payer, cost, now, Shortage::Refused)
    }

    /// Takes `cost` from the caller's bucket. `shortage` states what happens if the bucket has not enough calls.
    pub fn withdraw(
        &self,
        payer: RateKey<'_>,
        cost: u32,
        now: Instant,
        shortage: Shortage,
    ) -> RequestResult {
        let (rate, place, whom) = match payer {
            RateKey::Principal(name) => (
                self.rates.principal,
                self.hasher.hash_one((0, name.as_str())),
                "this token",
            ),
            RateKey::Peer(address) => (
                self.rates.peer,
                self.hasher.hash_one((1, network(address))),
                "this address",
            ),
            RateKey::Key(keyid) => (
                self.rates.key,
                self.hasher.hash_one((2, keyid.as_str())),
                "a signature's key",
            ),
            RateKey::Issuer(issuer) => (
                self.rates.issuer,
                self.hasher.hash_one((3, issuer)),
                "the jobs of an issuer",
            ),
        };
        let now = now.saturating_duration_since(self.began);
        self.take(rate, place, cost, now, shortage)
            .map_err(|seconds| {
                let calls = if matches!(payer, RateKey::Issuer(_)) {
                    "call"
                } else {
                    "calls"
                };
                Refusal::new(
                    Code::RateLimited,
                    format!("{whom} {calls} too often: try again in {seconds} s"),
                )
                .retry_after(seconds)
                .into()
            })
    }

    /// Takes `cost` from the bucket. A bucket stores the time when it is full again (generic cell rate algorithm of
    /// ATM).
    fn take(
        &self,
        rate: RateLimit,
        place: u64,
        cost: u32,
        now: Duration,
        shortage: Shortage,
    ) -> Result<(), u64> {
        if rate.per_second == 0 {
            return Ok(());
        }
        let each = Duration::from_secs(1) / rate.per_second;
        let most = each * rate.burst.max(cost);
        let mut buckets = locked(&self.buckets);
        if buckets.len() >= MOST_BUCKETS && !buckets.contains_key(&place) {
            buckets.retain(|_, full| *full > now);
        }
        let place = if buckets.len() < MOST_BUCKETS || buckets.contains_key(&place) {
            place
        } else {
            0
        };
        let full = buckets.entry(place).or_default();
        let then = (*full).max(now) + each * cost;
        match then.checked_sub(now + most) {
            Some(missing) if !missing.is_zero() => {
                if shortage == Shortage::Owed {
                    *full = then.min(now + most + each * cost).max(*full);
                }
                Err(missing.as_secs() + 1)
            }
            _ => {
                *full = then;
                Ok(())
            }
        }
    }
}

/// Maps an address to a number for its network. A client usually controls a whole IPv6 /64 network, and a local client
/// controls all loopback addresses.
fn network(address: IpAddr) -> u64 {
    match address.to_canonical() {
        local if local.is_loopback() => u64::from(Ipv4Addr::LOCALHOST.to_bits()),
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: RateLimit = RateLimit {
        per_second: 10,
        burst: 3,
    };

    fn limits() -> RateLimiter {
        RateLimiter::new(
            Rates {
                principal: RATE,
                peer: RATE,
                key: RATE,
                issuer: RATE,
            },
            Instant::now(),
        )
    }

    fn take(
        limits: &RateLimiter,
        rate: RateLimit,
        place: u64,
        cost: u32,
        now: Duration,
    ) -> Result<(), u64> {
        limits.take(rate, place, cost, now, Shortage::Refused)
    }

    #[test]
    fn a_penalty_that_does_not_fit_is_owed_once() {
        let limits = limits();
        let fail = |at| limits.take(RATE, 1, 2, Duration::from_millis(at), Shortage::Owed);
        assert_eq!(fail(0), Ok(()));
        assert_eq!(fail(0), Err(1));
        assert_eq!(
            take(&limits, RATE, 1, 1, Duration::ZERO),
            Err(1),
            "one call was left before"
        );
        assert_eq!(
            take(&limits, RATE, 1, 1, Duration::from_millis(199)),
            Err(1),
            "the penalty is owed"
        );
        assert_eq!(
            take(&limits, RATE, 1, 1, Duration::from_millis(200)),
            Ok(())
        );
        for _ in 0..100 {
            assert_eq!(fail(200), Err(1));
        }
        assert_eq!(
            take(&limits, RATE, 1, 1, Duration::from_millis(499)),
            Err(1)
        );
        assert_eq!(
            take(&limits, RATE, 1, 1, Duration::from_millis(500)),
            Ok(()),
            "not all penalties are owed"
        );
    }

    #[test]
    fn a_rate_limit_allows_the_burst_and_then_the_steady_rate() {
        let limits = limits();
        let at = Duration::from_millis;
        for _ in 0..3 {
            assert_eq!(take(&limits, RATE, 7, 1, at(0)), Ok(()));
        }
        assert_eq!(take(&limits, RATE, 7, 1, at(99)), Err(1));
        assert_eq!(take(&limits, RATE, 7, 1, at(100)), Ok(()));
        assert_eq!(take(&limits, RATE, 7, 1, at(100)), Err(1));
        assert_eq!(
            take(&limits, RATE, 8, 1, at(100)),
            Ok(()),
            "another payer's bucket is full"
        );
        for _ in 0..3 {
            assert_eq!(take(&limits, RATE, 7, 1, at(10_000)), Ok(()));
        }
        assert!(
            take(&limits, RATE, 7, 1, at(10_000)).is_err(),
            "it never holds more than the burst"
        );
    }

    #[test]
    fn a_call_that_costs_more_than_the_burst_limit_is_still_possible() {
        let limits = limits();
        assert_eq!(take(&limits, RATE, 1, 20, Duration::ZERO), Ok(()));
        assert_eq!(take(&limits, RATE, 1, 1, Duration::ZERO), Err(2));
    }

    #[test]
    fn a_refused_call_does_not_use_the_rate_limit_and_a_rate_of_zero_means_no_limit() {
        let limits = limits();
        let rate = RateLimit {
            per_second: 1,
            burst: 1,
        };
        assert_eq!(take(&limits, rate, 1, 1, Duration::ZERO), Ok(()));
        for _ in 0..100 {
            assert!(take(&limits, rate, 1, 1, Duration::ZERO).is_err());
        }
        assert_eq!(take(&limits, rate, 1, 1, Duration::from_secs(1)), Ok(()));
        for _ in 0..1000 {
            assert_eq!(
                take(
                    &limits,
                    RateLimit {
                        per_second: 0,
                        burst: 0
                    },
                    2,
                    1,
                    Duration::ZERO
                ),
                Ok(())
            );
        }
    }

    #[test]
    fn new_callers_share_one_rate_limit_if_the_table_of_callers_is_full() {
        let limits = limits();
        for place in 1..=MOST_BUCKETS as u64 {
            assert_eq!(take(&limits, RATE, place, 1, Duration::ZERO), Ok(()));
        }
        for _ in 0..10 {
            let _ = take(&limits, RATE, u64::MAX, 1, Duration::ZERO);
        }
        assert!(
            take(&limits, RATE, u64::MAX - 1, 1, Duration::ZERO).is_err(),
            "the shared bucket is empty"
        );
        assert!(limits.buckets.lock().expect("a lock").len() <= MOST_BUCKETS + 1);
        assert_eq!(
            take(&limits, RATE, u64::MAX, 1, Duration::from_secs(60)),
            Ok(())
        );
        assert_eq!(
            limits.buckets.lock().expect("a lock").len(),
            1,
            "full buckets are forgotten"
        );
    }

    #[test]
    fn all_addresses_of_one_network_share_a_rate_limit() {
        let key = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        for local in [
            "127.0.0.1",
            "127.0.1.1",
            "127.255.255.254",
            "::ffff:127.9.9.9",
        ] {
            assert_eq!(key(local), key("::1"), "{local}");
        }
        assert_ne!(key("126.0.0.1"), key("127.0.0.1"));
    }
}
