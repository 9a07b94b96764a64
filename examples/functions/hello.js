// Kind nodejs:default.
exports.main = ({ name = 'world' }) => ({ hello: name, from: `Node ${process.version}` });
