"""`ticket bench`: hot paths against their peers, in pairs, with what was computed compared too."""
