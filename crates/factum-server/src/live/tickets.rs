//! One-time tickets, with which a browser opens a WebSocket.
//!
//! A browser cannot send a header with a WebSocket, and a key in a URL ends up in logs and
//! histories. A ticket there is worthless: it works once, for a few seconds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

/// How many random bytes a ticket is made of.
const TICKET_BYTES: usize = 32;

/// The tickets that have been given out and not used, each with who may use it.
#[derive(Debug)]
pub(crate) struct Tickets<P> {
    max: usize,
    lifetime: Duration,
    issued: Mutex<HashMap<String, (P, Instant)>>,
}

/// There are too many unused tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TicketsExhausted {
    /// When some will have expired.
    pub(crate) retry_after: Duration,
}

impl<P> Tickets<P> {
    pub(crate) fn new(max: usize, lifetime: Duration) -> Self {
        Self {
            max,
            lifetime,
            issued: Mutex::new(HashMap::new()),
        }
    }

    pub(crate) const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Gives out a ticket made of `random`.
    ///
    /// # Errors
    /// [`TicketsExhausted`] when as many as may be are waiting to be used. None of them is taken
    /// back: whoever can ask for many could otherwise shut out all others.
    pub(crate) fn issue(
        &self,
        principal: P,
        random: [u8; TICKET_BYTES],
    ) -> Result<String, TicketsExhausted> {
        let now = Instant::now();
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if issued.len() >= self.max {
            issued.retain(|_, (_, expires)| *expires > now);
        }
        if issued.len() >= self.max {
            let first = issued.values().map(|(_, expires)| *expires).min();
            let retry_after = first.map_or(self.lifetime, |expires| expires - now);
            return Err(TicketsExhausted { retry_after });
        }
        let ticket = URL_SAFE_NO_PAD.encode(random);
        issued.insert(ticket.clone(), (principal, now + self.lifetime));
        Ok(ticket)
    }

    /// Takes a ticket; the second time there is none.
    pub(crate) fn redeem(&self, ticket: &str) -> Option<P> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let (principal, expires) = issued.remove(ticket)?;
        (expires > Instant::now()).then_some(principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets() -> Tickets<&'static str> {
        Tickets::new(2, Duration::from_secs(30))
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_works_once() {
        let tickets = tickets();
        let ticket = tickets.issue("ann", [1; 32]).unwrap();
        assert_eq!(tickets.redeem("other"), None);
        assert_eq!(tickets.redeem(&ticket), Some("ann"));
        assert_eq!(tickets.redeem(&ticket), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_expires() {
        let tickets = tickets();
        let ticket = tickets.issue("ann", [1; 32]).unwrap();
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(tickets.redeem(&ticket), None);
    }

    #[tokio::test(start_paused = true)]
    async fn tickets_are_bounded_and_the_expired_ones_make_room() {
        let tickets = tickets();
        tickets.issue("ann", [1; 32]).unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        let second = tickets.issue("ann", [2; 32]).unwrap();
        let full = tickets.issue("eve", [3; 32]).unwrap_err();
        assert_eq!(full.retry_after, Duration::from_secs(20));
        tokio::time::advance(Duration::from_secs(20)).await;
        tickets.issue("eve", [3; 32]).unwrap();
        assert_eq!(tickets.redeem(&second), Some("ann"));
    }
}
