//! Admission: join tokens, redemption, certificates, and the join answer.
