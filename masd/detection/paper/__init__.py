"""The four systems of the paper: k-NN and LOF on features and on scores, with SMOTE and the domain minimum."""
