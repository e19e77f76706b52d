"""The synthetic world: people who act in dark rooms, drawn, for runs without a download.

`dataset` is what the catalogue offers; `synthetic.render` draws a clip of an action: `motions`,
`gaits` and `two_person` move the joints of `figure`, `scene` places the bodies, `raster` paints
them before a `background`, `camera` films them; `world` says how rich all that is.
"""
