"""The demonstration: a real daemon, real mail, one stolen account, a balance."""
