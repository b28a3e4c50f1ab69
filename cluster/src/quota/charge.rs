//! What one call has to pay, and how it pays.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::purse::Purse;
use super::wallet::Wallet;
use crate::machine::quota::{Key, Limit};

/// How long a call waits for the answer to the first request for tokens.
const WAIT: Duration = Duration::from_secs(1);
/// What a client is told when nobody knows when there will be tokens again.
const RETRY_UNKNOWN: Duration = Duration::from_secs(1);

/// What one call has to pay: tokens out of each of these purses, or of none.
#[derive(Debug, Default)]
pub struct Charge {
    open: Vec<(Arc<Purse>, u64)>,
}

/// A call can't be paid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The account has no more.
    #[error("quota `{rule}` is used up")]
    Exhausted {
        /// Rule of the account.
        rule: Arc<str>,
        /// When it is worth trying again. `None` when the limit is below what the call costs.
        retry_after: Option<Duration>,
    },
    /// What this node held is spent, and nobody can grant more.
    #[error("quota `{rule}` cannot be asked for, since this node has no connection to a leader")]
    Unavailable {
        /// Rule of the account.
        rule: Arc<str>,
        /// When it is worth trying again.
        retry_after: Duration,
    },
}

impl Charge {
    /// Adds `tokens` out of `purse`. Nothing is added for 0.
    pub fn add(&mut self, purse: Arc<Purse>, tokens: u64) {
        if tokens > 0 {
            self.open.push((purse, tokens));
        }
    }

    /// Whether there is nothing to pay.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Pays, without a wait if the tokens are there.
    ///
    /// # Errors
    ///
    /// [`Denial`] for the first purse that has too little. Nothing is spent then, unless two calls raced for the last
    /// tokens, or a small key is decided elsewhere: what was paid into other purses by then stays spent.
    ///
    /// # Cancel safety
    ///
    /// What was paid stays paid.
    pub async fn pay(mut self, wallet: &Wallet) -> Result<(), Denial> {
        let deadline = Instant::now() + WAIT;
        let mut missed = Vec::<Arc<Purse>>::new();
        while let Some((purse, tokens)) = self.pay_here(wallet)? {
            // Made before the second look, so that an answer in between is not slept through.
            let answered = purse.answered();
            let now_us = wallet.now_us();
            if purse.has(tokens, now_us) || purse.refused_for_us(now_us).is_some() {
                continue;
            }
            if !missed.iter().any(|before| Arc::ptr_eq(before, &purse)) {
                purse.miss(tokens);
                wallet.counts().wait();
                missed.push(Arc::clone(&purse));
            }
            wallet.ask(&purse);
            if timeout_at(deadline, answered).await.is_err() {
                return Err(unavailable(&purse));
            }
        }
        self.pay_afar(wallet, deadline).await
    }

    /// Pays out of the purses of this node. Returns the first one whose tokens have to be asked for.
    fn pay_here(&mut self, wallet: &Wallet) -> Result<Option<(Arc<Purse>, u64)>, Denial> {
        let now_us = wallet.now_us();
        let cut_off = wallet.is_cut_off();
        // All of them are looked at before any is spent from: who is refused by one limit uses up no other.
        for (purse, tokens) in &self.open {
            if wallet.decider(purse, *tokens).is_some() || purse.has(*tokens, now_us) {
                continue;
            }
            if *tokens > purse.limit().capacity() {
                return Err(exhausted(purse, None));
            }
            if let Some(wait_us) = purse.refused_for_us(now_us) {
                purse.miss(*tokens);
                return Err(exhausted(purse, Some(wait_us)));
            }
            if !cut_off {
                return Ok(Some((Arc::clone(purse), *tokens)));
            }
        }
        let mut lacking = None;
        let mut denial = None;
        self.open.retain(|(purse, tokens)| {
            let open =
                lacking.is_some() || denial.is_some() || wallet.decider(purse, *tokens).is_some();
            if open || purse.spend(*tokens, now_us) {
                if !open && purse.runs_low(now_us) {
                    wallet.ask(purse);
                }
                return open;
            }
            if cut_off && purse.spend_safely(*tokens, now_us) {
                return false;
            }
            if cut_off {
                denial = Some(unavailable(purse));
            } else {
                lacking = Some((Arc::clone(purse), *tokens));
            }
            true
        });
        denial.map_or(Ok(lacking), Err)
    }

    /// Asks the primaries of the keys that are too small to be divided.
    async fn pay_afar(self, wallet: &Wallet, deadline: Instant) -> Result<(), Denial> {
        for (purse, tokens) in self.open {
            // It became this node's own in the meantime: the next try finds it here.
            let Some(decider) = wallet.decider(&purse, tokens) else {
                return Err(unavailable(&purse));
            };
            wallet.counts().afar();
            match timeout_at(deadline, decider.spend(purse.key(), tokens)).await {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(wait_us))) => return Err(exhausted(&purse, Some(wait_us))),
                Ok(Err(_)) | Err(_) if purse.spend_safely(tokens, wallet.now_us()) => {}
                Ok(Err(_)) | Err(_) => return Err(unavailable(&purse)),
            }
        }
        Ok(())
    }
}

impl Wallet {
    /// Decides a spend of `tokens` for another node, as the primary of a key that is too small to be divided.
    ///
    /// # Errors
    ///
    /// [`Denial`], also when this node is not the primary: the other one asks again when it knows better.
    pub async fn decide(&self, key: &Key, limit: Limit, tokens: u64) -> Result<(), Denial> {
        let Some(purse) = self.purse(&key.rule, &key.subject, limit, 0) else {
            return Err(Denial::Unavailable {
                rule: Arc::clone(&key.rule),
                retry_after: RETRY_UNKNOWN,
            });
        };
        // Not passed on a second time: two nodes that take each other for the primary would never end.
        if self.decider(&purse, tokens).is_some() {
            return Err(unavailable(&purse));
        }
        let mut charge = Charge::default();
        charge.add(purse, tokens);
        charge.pay(self).await
    }
}

impl Denial {
    /// Which rule denied it.
    pub fn rule(&self) -> &Arc<str> {
        match self {
            Self::Exhausted { rule, .. } | Self::Unavailable { rule, .. } => rule,
        }
    }

    /// When it is worth trying again. `None` when it never is.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Exhausted { retry_after, .. } => *retry_after,
            Self::Unavailable { retry_after, .. } => Some(*retry_after),
        }
    }
}

fn exhausted(purse: &Purse, wait_us: Option<u64>) -> Denial {
    Denial::Exhausted {
        rule: Arc::clone(&purse.key().rule),
        // What is beyond a century is never.
        retry_after: wait_us
            .filter(|wait_us| *wait_us < u64::MAX / 4)
            .map(Duration::from_micros),
    }
}

fn unavailable(purse: &Purse) -> Denial {
    Denial::Unavailable {
        rule: Arc::clone(&purse.key().rule),
        retry_after: RETRY_UNKNOWN,
    }
}
