"""Clips whose true motion is known, made from photographs.

moves     how a clip moves: the drawn motion of one clip, and the distribution it is drawn from
frames    its frames, cut or resampled from the photograph
flow      its true optical flow and its true occlusions
"""
