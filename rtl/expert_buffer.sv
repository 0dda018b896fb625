/// The expert buffer: which expert is in which slot, what to load, what to give up.
///
/// A decision (the router's expert for a layer) is looked up and counted as hit (whole), late (load begun) or miss. A miss
/// takes a victim slot and starts a demand load; a late load is promoted to demand. Loads that were speculated for this
/// layer and that the decision contradicts are dropped (`drop_contradicted_i`). Predictions come in as a ranked list; each
/// becomes a prefetch when no other is on its way, so that a guess takes no slot before its load can move, and a slot can be
/// had: never one that is pinned, loading, or holds another prediction. A decision goes before predictions that wait; they
/// come after it, unless it decides what they guess at (`drop_contradicted_i`).
///
/// Victim: an empty slot; otherwise, among ready slots that are not pinned, the smallest (predicted, keep, last use):
/// keep is a table of the host (0 everywhere makes this plain LRU). A demand may take a predicted slot, a prefetch may not.
/// A slot whose load was given up is as good as empty to a demand: what is still in flight comes, channel by channel, before
/// the first word of the new load.
///
/// A lookup takes 2 + (4 when contradicted loads are dropped) cycles, a choice of victim `slots_i` + 2 cycles.
module expert_buffer #(
    parameter int unsigned MaxSlots = 64,
    parameter int unsigned MaxLayers = 12,
    parameter int unsigned NumContexts = 4,
    localparam int unsigned SlotBits = $clog2(MaxSlots),
    localparam int unsigned ContextBits = $clog2(NumContexts)
) (
    input  logic                            clk_i,
    input  logic                            rst_ni,
    input  logic [              SlotBits:0] slots_i,
    input  logic                            drop_contradicted_i,
    // A decision. The answer comes as one pulse of `answer_o`.
    input  logic                            decide_i,
    input  logic [                     7:0] decide_key_i,          // layer * 16 + expert
    input  logic                            decide_count_i,
    input  logic                            decide_hold_i,         // keep it from prefetches until the layer's next lookup
    output logic                            answer_o,
    output logic [            SlotBits-1:0] answer_slot_o,
    output logic [                     1:0] answer_class_o,
    // The slot being computed on.
    input  logic                            pin_i,
    input  logic [            SlotBits-1:0] pin_slot_i,
    // Predictions.
    input  logic                            predict_i,
    input  logic [                     7:0] predict_key_i,
    output logic                            predict_ready_o,
    // Forget everything in the slots (not while loads are in progress: they are dropped first).
    input  logic                            flush_i,
    output logic                            flushed_o,
    // Keep values: byte `expert` of beat `layer`, sixteen experts a layer.
    input  logic                            keep_write_i,
    input  logic [                     3:0] keep_layer_i,
    input  logic [                   127:0] keep_data_i,
    // Loader.
    output logic                            load_o,
    input  logic                            load_ready_i,
    output logic                            load_demand_o,
    output logic [            SlotBits-1:0] load_slot_o,
    output logic [                     7:0] load_key_o,
    output logic                            promote_o,
    output logic [            SlotBits-1:0] promote_slot_o,
    output logic                            abort_o,
    output logic [         ContextBits-1:0] abort_context_o,
    input  logic [         NumContexts-1:0] load_active_i,
    input  logic [         NumContexts-1:0] load_is_demand_i,
    input  logic [         NumContexts-1:0] load_aborting_i,
    input  logic [       8*NumContexts-1:0] load_key_i,
    input  logic [SlotBits*NumContexts-1:0] load_in_slot_i,
    input  logic                            finished_i,
    input  logic                            dropped_i,
    input  logic [            SlotBits-1:0] ended_slot_i,
    input  logic [                     7:0] ended_key_i,
    // Counters.
    input  logic                            counters_clear_i,
    input  logic [                     5:0] counter_select_i,      // layer * 4 + class
    output logic [                    31:0] counter_o,
    output logic [                    31:0] demand_loads_o,
    output logic [                    31:0] prefetch_loads_o,
    output logic [                    31:0] prefetch_used_o,
    output logic [                    31:0] prefetch_dropped_o
);

  typedef enum logic [1:0] {
    SlotEmpty,
    SlotLoading,
    SlotAborting,
    SlotReady
  } slot_state_e;

  typedef enum logic [3:0] {
    StateClear,
    StateIdle,
    StateCancel,
    StateLookup,
    StateScan,
    StateVictim,
    StateLoad,
    StateAnswer,
    StatePredict,
    StateFlush
  } state_e;

  state_e state_q;

  // Tables are memories with one write port each, read in the same cycle: distributed RAM.
  // Where each expert is.
  logic [SlotBits:0] where_q[256];  // {present, slot}
  // The slots.
  slot_state_e slot_state_q[MaxSlots];
  logic [7:0] slot_key_q[MaxSlots];
  logic [31:0] slot_stamp_q[MaxSlots];
  logic [MaxSlots-1:0] slot_predicted_q, slot_unused_q;
  logic [127:0] keep_q[16];  // of a layer's experts

  logic [7:0] key_q, scan_index_q;
  logic demand_q, count_q, hold_q, cancel_all_q;
  logic [SlotBits-1:0] slot_q;
  logic [1:0] class_q;
  logic [31:0] now_q;
  logic [ContextBits-1:0] context_q;
  logic best_valid_q, best_empty_q;
  logic [SlotBits-1:0] best_slot_q;
  logic [40:0] best_rank_q;
  logic [31:0] counters_q[64];  // of lookups that were counted since the counters were cleared; else they are zero
  logic [63:0] counting_q;
  logic [31:0] demand_loads_q, prefetch_loads_q, prefetch_used_q, prefetch_dropped_q;

  // ---- Predictions wait in a queue; those for a layer other than the newest's are stale, and so are all that a decision
  // answers. One leaves when its load starts, or is seen not to.
  logic queue_valid, queue_pop, decision_taken;
  logic [7:0] queue_key, newest_key_q;
  logic [3:0] unused_queue_count;
  fifo #(
      .Width(8),
      .Depth(8)
  ) u_queue (
      .clk_i,
      .rst_ni,
      .clear_i(flush_i || (decision_taken && drop_contradicted_i && decide_key_i[7:4] == newest_key_q[7:4])),
      .valid_i(predict_i),
      .ready_o(predict_ready_o),
      .data_i (predict_key_i),
      .valid_o(queue_valid),
      .ready_i(queue_pop),
      .data_o (queue_key),
      .count_o(unused_queue_count)
  );

  // ---- Lookups of the key at hand.
  logic present;
  logic [SlotBits-1:0] present_slot;
  logic [7:0] lookup_key;
  assign lookup_key = (state_q == StatePredict) ? queue_key : key_q;
  assign present = where_q[lookup_key][SlotBits];
  assign present_slot = where_q[lookup_key][SlotBits-1:0];

  // ---- The loader's context at hand.
  logic context_speculates, contradicted;
  logic [SlotBits-1:0] context_slot;
  logic [7:0] context_key;
  logic prefetching;
  assign context_slot = load_in_slot_i[SlotBits*context_q+:SlotBits];
  assign context_key = load_key_i[8*context_q+:8];
  assign context_speculates = load_active_i[context_q] && !load_is_demand_i[context_q] && !load_aborting_i[context_q] &&
                              !(finished_i && ended_slot_i == context_slot);
  assign contradicted = context_speculates && (cancel_all_q ? context_key != key_q :
                                               (context_key[7:4] == key_q[7:4] && context_key[3:0] != key_q[3:0]));
  assign prefetching = (load_active_i & ~load_is_demand_i) != '0;

  // ---- Rank of the slots scanned as victims; smaller goes first. A slot a cycle: what is in it, then its keep value, then the
  // comparison. What has changed since does not matter: only this machine makes a ready slot something else.
  logic [SlotBits-1:0] scan_slot, scan1_slot_q, scan2_slot_q;
  logic scan_more, scan1_valid_q, scan1_last_q, scan1_empty_q, scan1_evictable_q, scan1_predicted_q;
  logic scan2_valid_q, scan2_last_q, scan2_empty_q, scan2_evictable_q;
  logic [7:0] scan1_key_q;
  logic [31:0] scan1_stamp_q;
  logic [40:0] scan2_rank_q;
  assign scan_slot = scan_index_q[SlotBits-1:0];
  assign scan_more = scan_index_q < 8'(slots_i);
  always_ff @(posedge clk_i) begin
    scan1_valid_q     <= rst_ni && state_q == StateScan && scan_more;
    scan1_slot_q      <= scan_slot;
    scan1_last_q      <= scan_index_q + 1'b1 == 8'(slots_i);
    scan1_empty_q     <= slot_state_q[scan_slot] == SlotEmpty || (demand_q && slot_state_q[scan_slot] == SlotAborting);
    scan1_evictable_q <= slot_state_q[scan_slot] == SlotReady && !(pin_i && pin_slot_i == scan_slot) &&
                         (demand_q || !slot_predicted_q[scan_slot]);
    scan1_predicted_q <= slot_predicted_q[scan_slot];
    scan1_key_q       <= slot_key_q[scan_slot];
    scan1_stamp_q     <= slot_stamp_q[scan_slot];
    scan2_valid_q     <= rst_ni && state_q == StateScan && scan1_valid_q;
    scan2_slot_q      <= scan1_slot_q;
    scan2_last_q      <= scan1_last_q;
    scan2_empty_q     <= scan1_empty_q;
    scan2_evictable_q <= scan1_evictable_q;
    scan2_rank_q      <= {scan1_predicted_q, keep_q[scan1_key_q[7:4]][{scan1_key_q[3:0], 3'd0}+:8], scan1_stamp_q};
  end

  logic lookup_done, hit, late;
  assign hit = present && slot_state_q[present_slot] == SlotReady;
  assign late = present && slot_state_q[present_slot] == SlotLoading;
  assign lookup_done = state_q == StateLookup;

  logic predict_present, predict_fresh, predict_start, preempt;
  assign predict_present = present && (hit || late);
  assign predict_fresh = queue_key[7:4] == newest_key_q[7:4];
  // A decision interrupts the search for a prefetch's slot, never a started load.
  assign preempt = decide_i && !demand_q && (state_q == StateScan || state_q == StateVictim || state_q == StatePredict);
  assign predict_start = state_q == StatePredict && !preempt && queue_valid && predict_fresh && !predict_present &&
                         !prefetching && load_ready_i;
  assign decision_taken = state_q == StateIdle && !(flush_i && !flushed_o) && decide_i;
  assign queue_pop = (state_q == StatePredict && !preempt && (!predict_fresh || predict_present)) ||
                     (state_q == StateVictim && !preempt && !demand_q && !best_valid_q) ||
                     (state_q == StateLoad && !demand_q && load_ready_i);

  assign promote_o = lookup_done && late;
  assign promote_slot_o = present_slot;
  assign abort_o = state_q == StateCancel && contradicted && (drop_contradicted_i || cancel_all_q);
  assign abort_context_o = context_q;
  assign load_o = state_q == StateLoad;
  assign load_demand_o = demand_q;
  assign load_slot_o = slot_q;
  assign load_key_o = key_q;
  assign answer_o = state_q == StateAnswer;
  assign answer_slot_o = slot_q;
  assign answer_class_o = class_q;

  // ---- Writes of the tables.
  logic where_write, stamp_write;
  logic [7:0] where_key;
  logic [SlotBits:0] where_value;
  logic [SlotBits-1:0] stamp_slot;
  always_comb begin
    where_write = 1'b0;
    where_key   = key_q;
    where_value = '0;
    stamp_write = 1'b0;
    stamp_slot  = present_slot;
    unique case (state_q)
      StateClear: begin
        where_write = 1'b1;
        where_key   = scan_index_q;
      end
      StateCancel: begin
        where_write = abort_o;
        where_key   = context_key;
      end
      StateLookup: stamp_write = hit || late;
      StateVictim: begin
        where_write = !preempt && best_valid_q && !best_empty_q;
        where_key   = slot_key_q[best_slot_q];
      end
      StateLoad: begin
        where_write = 1'b1;
        where_value = {1'b1, slot_q};
        stamp_write = 1'b1;
        stamp_slot  = slot_q;
      end
      StatePredict: stamp_write = !preempt && queue_valid && predict_fresh && predict_present;
      default: ;
    endcase
  end
  always_ff @(posedge clk_i) begin
    if (where_write) where_q[where_key] <= where_value;
  end
  always_ff @(posedge clk_i) begin
    if (stamp_write) slot_stamp_q[stamp_slot] <= now_q;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q          <= StateClear;
      key_q            <= '0;
      scan_index_q     <= '0;
      demand_q         <= 1'b0;
      count_q          <= 1'b0;
      hold_q           <= 1'b0;
      cancel_all_q     <= 1'b0;
      slot_q           <= '0;
      class_q          <= '0;
      now_q            <= '0;
      context_q        <= '0;
      best_valid_q     <= 1'b0;
      best_empty_q     <= 1'b0;
      best_slot_q      <= '0;
      best_rank_q      <= '0;
      newest_key_q     <= '0;
      slot_predicted_q <= '0;
      slot_unused_q    <= '0;
      flushed_o        <= 1'b0;
    end else begin
      flushed_o <= 1'b0;
      if (predict_i && predict_ready_o) newest_key_q <= predict_key_i;

      // The loader's events come in any state.
      if (finished_i) slot_state_q[ended_slot_i] <= SlotReady;
      if (dropped_i && slot_state_q[ended_slot_i] == SlotAborting) slot_state_q[ended_slot_i] <= SlotEmpty;

      unique case (state_q)
        StateClear: begin
          slot_state_q[scan_index_q[SlotBits-1:0]] <= SlotEmpty;
          slot_predicted_q <= '0;
          slot_unused_q <= '0;
          scan_index_q <= scan_index_q + 1'b1;
          if (scan_index_q == 8'd255) begin
            state_q   <= StateIdle;
            flushed_o <= 1'b1;
          end
        end

        StateIdle: begin
          scan_index_q <= '0;
          if (flush_i && !flushed_o) begin
            state_q <= StateFlush;
            context_q <= '0;
          end else if (decision_taken) begin
            key_q        <= decide_key_i;
            count_q      <= decide_count_i;
            hold_q       <= decide_hold_i;
            demand_q     <= 1'b1;
            cancel_all_q <= 1'b0;
            context_q    <= '0;
            now_q        <= now_q + 1'b1;
            state_q      <= drop_contradicted_i ? StateCancel : StateLookup;
          end else if (queue_valid) begin
            demand_q <= 1'b0;
            state_q  <= StatePredict;
          end
        end

        StateCancel: begin
          if (abort_o) begin
            slot_state_q[context_slot] <= SlotAborting;
            slot_predicted_q[context_slot] <= 1'b0;
            slot_unused_q[context_slot] <= 1'b0;
          end
          context_q <= context_q + 1'b1;
          if (context_q == ContextBits'(NumContexts - 1)) begin
            state_q <= cancel_all_q ? StateScan : StateLookup;
          end
        end

        StateLookup: begin
          scan_index_q <= '0;
          best_valid_q <= 1'b0;
          if (hit || late) begin
            slot_q <= present_slot;
            slot_predicted_q[present_slot] <= 1'b0;
            slot_unused_q[present_slot] <= 1'b0;
            class_q <= hit ? flame_pkg::ClassHit : flame_pkg::ClassLate;
            state_q <= StateAnswer;
          end else begin
            class_q <= flame_pkg::ClassMiss;
            state_q <= StateScan;
          end
        end

        StateScan: begin
          if (scan_more) scan_index_q <= scan_index_q + 1'b1;
          if (scan2_valid_q && scan2_empty_q) begin
            best_valid_q <= 1'b1;
            best_empty_q <= 1'b1;
            best_slot_q  <= scan2_slot_q;
            state_q      <= StateVictim;
          end else if (scan2_valid_q) begin
            if (scan2_evictable_q && (!best_valid_q || scan2_rank_q < best_rank_q)) begin
              best_valid_q <= 1'b1;
              best_empty_q <= 1'b0;
              best_slot_q  <= scan2_slot_q;
              best_rank_q  <= scan2_rank_q;
            end
            if (scan2_last_q) state_q <= StateVictim;
          end
          if (preempt) state_q <= StateIdle;
        end

        StateVictim: begin
          scan_index_q <= '0;
          if (preempt) begin
            state_q <= StateIdle;
          end else if (best_valid_q) begin
            slot_q <= best_slot_q;
            state_q <= StateLoad;
          end else if (demand_q) begin
            // Every slot is on its way for a guess: give the guesses up and look again.
            cancel_all_q <= 1'b1;
            context_q    <= '0;
            state_q      <= StateCancel;
          end else begin
            state_q <= StateIdle;
          end
        end

        StateLoad: begin
          // The slot changes hands before the loader takes it, so that an eviction is never half done.
          slot_state_q[slot_q] <= SlotLoading;
          slot_key_q[slot_q] <= key_q;
          slot_predicted_q[slot_q] <= !demand_q;
          slot_unused_q[slot_q] <= !demand_q;
          if (load_ready_i) state_q <= demand_q ? StateAnswer : StateIdle;
        end

        StateAnswer: begin
          state_q <= StateIdle;
          if (hold_q) slot_predicted_q[slot_q] <= 1'b1;
        end

        StatePredict: begin
          scan_index_q <= '0;
          best_valid_q <= 1'b0;
          if (preempt) begin
            state_q <= StateIdle;
          end else if (queue_valid && predict_fresh && predict_present) begin
            slot_predicted_q[present_slot] <= 1'b1;
            state_q <= StateIdle;
          end else if (predict_start) begin
            key_q   <= queue_key;
            state_q <= StateScan;
          end else if (!queue_valid || !predict_fresh || flush_i) begin
            state_q <= StateIdle;
          end
        end

        StateFlush: begin
          // Speculation still in progress runs out before the slots are forgotten.
          scan_index_q <= '0;
          if (load_active_i == '0) state_q <= StateClear;
        end

        default: state_q <= StateIdle;
      endcase

      // A layer's predictions have served once its router has decided.
      if (lookup_done) begin
        for (int unsigned s = 0; s < MaxSlots; s++) begin
          if (slot_key_q[s][7:4] == key_q[7:4]) slot_predicted_q[s] <= 1'b0;
        end
      end
    end
  end

  // The keep table is zero after reset and survives a flush.
  logic fresh_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) fresh_q <= 1'b1;
    else if (flushed_o) fresh_q <= 1'b0;
  end
  always_ff @(posedge clk_i) begin
    if (keep_write_i || (fresh_q && state_q == StateClear)) begin
      keep_q[keep_write_i?keep_layer_i : scan_index_q[7:4]] <= keep_write_i ? keep_data_i : '0;
    end
  end

  // ---- Counters, a cycle behind the lookup.
  logic [1:0] lookup_class;
  logic counted_q;
  logic [5:0] counted_class_q;
  assign lookup_class = hit ? flame_pkg::ClassHit : late ? flame_pkg::ClassLate : flame_pkg::ClassMiss;
  always_ff @(posedge clk_i) begin
    if (!rst_ni || counters_clear_i) begin
      counting_q         <= '0;
      demand_loads_q     <= '0;
      prefetch_loads_q   <= '0;
      prefetch_used_q    <= '0;
      prefetch_dropped_q <= '0;
    end else begin
      if (counted_q) counting_q[counted_class_q] <= 1'b1;
      if (lookup_done && (hit || late) && slot_unused_q[present_slot]) prefetch_used_q <= prefetch_used_q + 1'b1;
      if (load_o && load_ready_i && demand_q) demand_loads_q <= demand_loads_q + 1'b1;
      if (load_o && load_ready_i && !demand_q) prefetch_loads_q <= prefetch_loads_q + 1'b1;
      if (abort_o) prefetch_dropped_q <= prefetch_dropped_q + 1'b1;
    end
  end
  always_ff @(posedge clk_i) begin
    counted_q       <= rst_ni && lookup_done && count_q;
    counted_class_q <= {key_q[7:4], lookup_class};
  end
  always_ff @(posedge clk_i) begin
    if (counted_q) counters_q[counted_class_q] <= (counting_q[counted_class_q] ? counters_q[counted_class_q] : 32'd0) + 1'b1;
  end
  assign counter_o = counting_q[counter_select_i] ? counters_q[counter_select_i] : 32'd0;
  assign demand_loads_o = demand_loads_q;
  assign prefetch_loads_o = prefetch_loads_q;
  assign prefetch_used_o = prefetch_used_q;
  assign prefetch_dropped_o = prefetch_dropped_q;

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!(load_o && pin_i && pin_slot_i == slot_q)) else $error("expert_buffer: the slot being computed on was evicted");
      assert (!finished_i || slot_state_q[ended_slot_i] == SlotLoading)
      else $error("expert_buffer: a load finished in a slot that was not loading");
      assert (!dropped_i || slot_state_q[ended_slot_i] == SlotAborting || slot_key_q[ended_slot_i] != ended_key_i)
      else $error("expert_buffer: a load was dropped that nobody gave up");
      assert (!finished_i || slot_key_q[ended_slot_i] == ended_key_i)
      else $error("expert_buffer: the slot holds another expert than the load brought");
    end
  end
`endif

endmodule
