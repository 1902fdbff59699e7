/** The history from where a watch wants to go on is gone, or never was in these data: list again. */
export class HistoryGone extends Error {
  override readonly name = 'HistoryGone';
  /** `older`: the data were restored from a copy, or made anew. */
  readonly reason: 'compacted' | 'older';

  constructor(reason: HistoryGone['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}
