// Returns its argument.
function main(args) {
  return args;
}
