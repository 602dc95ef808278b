"""Layer-wise optimal brain surgeon and its relatives: a layer at a time, from second moments of its inputs.

Notation, in all files: a layer has g groups (1 for a linear layer), each with o outputs and d inputs; a weight is
flattened to [g, o, d], a convolution's inputs in the order (channel, row, column) of its kernel. C is the second
moment [g, d, d] of the columns y that a group multiplies, and ``E = sum over outputs of dw^T C dw`` the mean squared
change of what it gives.

Source: Dong et al., "Learning to Prune Deep Neural Networks via Layer-wise Optimal Brain Surgeon", 2017, section 3
and algorithm 1; errors are twice the paper's, whose L_q has a factor 1/2 that its Hessian C does not call for.
"""
