/** Truth values as Go's strconv.ParseBool reads them, which users of the reference know. */

/** Undefined when `text` is neither. */
export function parseTruth(text: string): boolean | undefined {
  if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(text)) return true;
  if (['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(text)) return false;
  return undefined;
}
