//! Authorities that need no keys.

use fanfare_engine::{Authority, Capability, Denied, Grant, Rights, SubscriptionGrant};

/// Takes every token for the name of its user.
#[derive(Debug)]
pub struct Trusting;

impl Authority for Trusting {
    fn connect(&self, token: &str, _: u64) -> Result<Grant, Denied> {
        Ok(Grant {
            user: token.into(),
            ..Grant::default()
        })
    }

    fn subscribe(&self, _: &str, _: &str, _: &str, _: u64) -> Result<SubscriptionGrant, Denied> {
        Ok(SubscriptionGrant::default())
    }
}

/// Does what the token says. A connection token is the user's name and then words: `service`, `expires=SECONDS` from
/// now, `info=JSON`, `room=NAME` to be subscribed to by the server, `may=RIGHTS@PATTERN` with rights out of `s`, `p`, `w`
/// (presence: who) and `h`. A subscription token is `USER@ROOM` and then `expires=…`, `info=…`, `may=RIGHTS`. `invalid`
/// and `expired` are what they say.
#[derive(Debug)]
pub struct Scripted;

impl Authority for Scripted {
    fn connect(&self, token: &str, now: u64) -> Result<Grant, Denied> {
        let mut words = words(token)?;
        let mut grant = Grant {
            user: words.next().unwrap_or_default().into(),
            ..Grant::default()
        };
        for word in words {
            match word.split_once('=') {
                None => grant.is_service = word == "service",
                Some(("expires", seconds)) => grant.expires_at = Some(at(seconds, now)),
                Some(("info", json)) => grant.info = Some(json.into()),
                Some(("room", room)) => grant.rooms.push(room.into()),
                Some(("may", may)) => {
                    let (letters, pattern) = may.split_once('@').ok_or(Denied::Invalid)?;
                    grant.capabilities.push(Capability {
                        rooms: vec![pattern.into()],
                        rights: rights(letters),
                    });
                }
                Some(_) => return Err(Denied::Invalid),
            }
        }
        Ok(grant)
    }

    fn subscribe(
        &self,
        token: &str,
        user: &str,
        room: &str,
        now: u64,
    ) -> Result<SubscriptionGrant, Denied> {
        let mut words = words(token)?;
        if words.next() != Some(&format!("{user}@{room}")) {
            return Err(Denied::NotPermitted);
        }
        let mut grant = SubscriptionGrant::default();
        for word in words {
            match word.split_once('=') {
                Some(("expires", seconds)) => grant.expires_at = Some(at(seconds, now)),
                Some(("info", json)) => grant.info = Some(json.into()),
                Some(("may", letters)) => grant.rights = rights(letters),
                _ => return Err(Denied::Invalid),
            }
        }
        Ok(grant)
    }
}

fn words(token: &str) -> Result<impl Iterator<Item = &str>, Denied> {
    match token {
        "invalid" => Err(Denied::Invalid),
        "expired" => Err(Denied::Expired),
        _ => Ok(token.split(' ')),
    }
}

fn at(seconds: &str, now: u64) -> u64 {
    now.saturating_add_signed(seconds.parse().expect("a number of seconds"))
}

fn rights(letters: &str) -> Rights {
    Rights {
        subscribe: letters.contains('s'),
        publish: letters.contains('p'),
        presence: letters.contains('w'),
        history: letters.contains('h'),
    }
}
