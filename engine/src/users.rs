//! The home of a user: which connections are theirs.

use hashbrown::HashMap;

use crate::ids::ConnRef;

/// Most users have one connection; only further ones cost an allocation.
#[derive(Debug)]
enum Connections {
    One(ConnRef),
    Many(Box<Vec<ConnRef>>),
}

/// The users that a shard is home of.
#[derive(Debug, Default)]
pub(crate) struct Users {
    connections: HashMap<Box<str>, Connections>,
}

impl Users {
    /// Adds a connection. Returns `false`, and adds nothing, when the user has as many as they may.
    pub(crate) fn bind(&mut self, user: Box<str>, conn: ConnRef, at_most: u32) -> bool {
        let Some(known) = self.connections.get_mut(&user) else {
            if at_most > 0 {
                self.connections.insert(user, Connections::One(conn));
            }
            return at_most > 0;
        };
        match known {
            Connections::One(first) if at_most > 1 => {
                *known = Connections::Many(Box::new(vec![*first, conn]))
            }
            Connections::Many(all) if all.len() < at_most as usize => all.push(conn),
            _ => return false,
        }
        true
    }

    /// Removes a connection, if it is there.
    pub(crate) fn unbind(&mut self, user: &str, conn: ConnRef) {
        let is_last = match self.connections.get_mut(user) {
            None => false,
            Some(Connections::One(only)) => *only == conn,
            Some(Connections::Many(all)) => {
                all.retain(|other| *other != conn);
                all.is_empty()
            }
        };
        if is_last {
            self.connections.remove(user);
        }
    }

    /// The user's connections.
    pub(crate) fn connections(&self, user: &str) -> &[ConnRef] {
        match self.connections.get(user) {
            None => &[],
            Some(Connections::One(only)) => std::slice::from_ref(only),
            Some(Connections::Many(all)) => all,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ShardId;

    #[test]
    fn a_user_has_so_many_connections_and_no_more() {
        let conn = |slot| ConnRef::new(ShardId(0), 0, slot);
        let mut users = Users::default();
        assert!(users.bind("u".into(), conn(1), 2));
        assert!(users.bind("u".into(), conn(2), 2));
        assert!(!users.bind("u".into(), conn(3), 2));
        users.unbind("u", conn(3));
        assert_eq!(users.connections("u"), [conn(1), conn(2)]);
        users.unbind("u", conn(1));
        users.unbind("u", conn(2));
        assert_eq!((users.connections("u"), users.len()), (&[][..], 0));
    }
}
